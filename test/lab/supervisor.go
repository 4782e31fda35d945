package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// restartDelay is what systemd waits too with the agent's unit.
const restartDelay = time.Second

// AgentStatus is what a site's supervisor says about its agent.
type AgentStatus struct {
	Running  bool   `json:"running"`
	PID      int    `json:"pid"`      // in the site's PID namespace
	Keep     bool   `json:"keep"`     // it is restarted when it ends
	Restarts int    `json:"restarts"` // since the site started
	Ended    int    `json:"ended"`    // how often it has ended
	LastExit string `json:"last_exit,omitempty"`
}

// supervisor keeps one program running, and reaps everything that is orphaned in its PID namespace.
type supervisor struct {
	argv    []string
	env     []string
	output  *os.File
	log     *slog.Logger
	changed chan struct{}

	mu     sync.Mutex
	status AgentStatus
}

func newSupervisor(argv, env []string, output *os.File, log *slog.Logger) *supervisor {
	return &supervisor{argv: argv, env: env, output: output, log: log, changed: make(chan struct{}, 1)}
}

// run starts, reaps and restarts until ctx ends.
func (s *supervisor) run(ctx context.Context) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-children:
			if s.reap() {
				due = time.After(restartDelay)
			}
		case <-s.changed:
			due = s.start(false)
		case <-due:
			due = s.start(true)
		}
	}
}

// start starts the agent if it is to run and doesn't. If that fails, it returns when to try again.
func (s *supervisor) start(again bool) (retry <-chan time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.status.Keep || s.status.Running {
		return nil
	}
	if again {
		s.status.Restarts++
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		s.log.Error("starting the agent failed", "error", err)
		return time.After(restartDelay)
	}
	defer null.Close()
	out := s.output.Fd()
	// Not os/exec, which would wait for its child, as reap does for all.
	pid, err := syscall.ForkExec(s.argv[0], s.argv, &syscall.ProcAttr{
		Dir: "/", Env: s.env, Files: []uintptr{null.Fd(), out, out}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		s.log.Error("starting the agent failed", "command", s.argv, "error", err)
		fmt.Fprintf(s.output, "starting %q: %v\n", s.argv, err)
		s.status.Ended++
		s.status.LastExit = err.Error()
		return time.After(restartDelay)
	}
	s.status.Running, s.status.PID = true, pid
	s.log.Info("agent started", "pid", pid)
	return nil
}

// reap collects all children that have ended and reports whether the agent was among them.
func (s *supervisor) reap() (agent bool) {
	s.mu.Lock() // start has recorded the pid before its end is looked for
	defer s.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return agent
		}
		if pid == s.status.PID {
			agent = true
			s.status.Running, s.status.PID = false, 0
			s.status.Ended++
			s.status.LastExit = describe(status)
			s.log.Info("agent ended", "pid", pid, "how", s.status.LastExit)
		}
	}
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// handler serves the lab: GET /agent returns AgentStatus, PUT /agent?keep=true|false says whether
// the agent is to run. With false a running one goes on, but isn't restarted.
func (s *supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /agent", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		status := s.status
		s.mu.Unlock()
		json.NewEncoder(w).Encode(status) //nolint:errcheck // the caller went away
	})
	mux.HandleFunc("PUT /agent", func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.status.Keep = r.URL.Query().Get("keep") == "true"
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
	})
	return mux
}

// supervise talks to the supervisor of a site.
func (l *Lab) supervise(ctx context.Context, site, method, query string) (AgentStatus, error) {
	var status AgentStatus
	if _, err := l.Site(site); err != nil {
		return status, err
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.sitePath(site, "init.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://site/agent"+query, nil)
	if err != nil {
		return status, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return status, fmt.Errorf("asking the supervisor of site %s: %w", site, err)
	}
	defer resp.Body.Close()
	if method == http.MethodGet {
		err = json.NewDecoder(resp.Body).Decode(&status)
	}
	return status, err
}
