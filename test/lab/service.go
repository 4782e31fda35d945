package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
)

// stopTimeout is how long an agent may take to end, as in its systemd unit (TimeoutStopSec).
const stopTimeout = 30 * time.Second

// StartAgent starts a site's agent, as systemctl would, and returns when it answers on its socket.
// From then on it is restarted whenever it ends. One that ends at once is not tried again, and the
// error has the end of its log.
func (l *Lab) StartAgent(ctx context.Context, site string) error {
	before, err := l.Agent(ctx, site)
	if err != nil {
		return err
	}
	if err := l.checkConfigured(site); err != nil {
		return err
	}
	if err := l.KeepAgent(ctx, site, true); err != nil {
		return err
	}
	for {
		now, err := l.Agent(ctx, site)
		switch {
		case err != nil:
			return err
		case now.Ended > before.Ended:
			return errors.Join(
				api.Errorf(api.FailedPrecondition, "starting the agent of "+site, "it ended at once (%s); the end of its log:\n%s", now.LastExit, tail(l.AgentLog(site))),
				l.StopAgent(ctx, site))
		case now.Running && l.answers(ctx, site):
			return nil
		}
		if late := pause(ctx, 20*time.Millisecond); late != nil {
			return fmt.Errorf("the agent of site %s doesn't answer: %w; the end of its log:\n%s", site, late, tail(l.AgentLog(site)))
		}
	}
}

// ownAgent says whether sites run drover's agent, not a program that stands in for it.
func (l *Lab) ownAgent() bool {
	return slices.Equal(l.plan.AgentCommand, agentCommand(l.plan.Executable))
}

// checkConfigured returns an error if an agent could not even begin.
func (l *Lab) checkConfigured(site string) error {
	path, err := l.Path(site, agentConfig)
	if err != nil || !l.ownAgent() {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return api.Errorf(api.FailedPrecondition, "starting the agent of "+site, "the site has no %s", agentConfig).
			WithCure(fmt.Sprintf("make it within the site, for example: drover lab exec %s -- drover mesh join TOKEN@HOST:PORT", site))
	}
	return nil
}

// answers says whether the agent accepts connections. One that stands in for it need only run.
func (l *Lab) answers(ctx context.Context, site string) bool {
	socket, err := l.Socket(site)
	if err != nil || !l.ownAgent() {
		return err == nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// StopAgent ends a site's agent by SIGTERM, and returns when it has ended. It is not restarted. An
// agent that doesn't end in time is killed, which is an error. Without one nothing happens.
func (l *Lab) StopAgent(ctx context.Context, site string) error {
	if err := l.KeepAgent(ctx, site, false); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for told := 0; ; {
		status, err := l.Agent(context.WithoutCancel(ctx), site)
		if err != nil || !status.Running {
			return err
		}
		if status.PID != told {
			told = status.PID
			if err := l.SignalAgent(ctx, site, unix.SIGTERM); err != nil {
				told = 0 // it may just have ended
			}
		}
		if late := pause(ctx, 20*time.Millisecond); late != nil {
			return errors.Join(
				fmt.Errorf("the agent of site %s did not end by SIGTERM and was killed: %w", site, late),
				l.SignalAgent(context.WithoutCancel(ctx), site, unix.SIGKILL))
		}
	}
}

// Agent returns what the supervisor of a site says about its agent.
func (l *Lab) Agent(ctx context.Context, site string) (AgentStatus, error) {
	return l.supervise(ctx, site, http.MethodGet, "")
}

// KeepAgent says whether a site's agent is to run. With true it is started, and restarted a second
// after it ends; with false one that runs goes on, but isn't restarted.
func (l *Lab) KeepAgent(ctx context.Context, site string, keep bool) error {
	_, err := l.supervise(ctx, site, http.MethodPut, "?keep="+strconv.FormatBool(keep))
	return err
}

// AgentPID returns the pid of a site's agent, as the host sees it.
func (l *Lab) AgentPID(ctx context.Context, site string) (int, error) {
	status, err := l.Agent(ctx, site)
	if err != nil {
		return 0, err
	}
	if !status.Running {
		return 0, fmt.Errorf("the agent of site %s doesn't run (%s)", site, status.LastExit)
	}
	init, err := l.init(site)
	if err != nil {
		return 0, err
	}
	return hostPID(init, status.PID)
}

// SignalAgent sends a signal to a site's agent, for example SIGKILL, and returns when that was sent.
// What the agent started is not signalled.
func (l *Lab) SignalAgent(ctx context.Context, site string, signal unix.Signal) error {
	pid, err := l.AgentPID(ctx, site)
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, signal); err != nil {
		return fmt.Errorf("signalling the agent of site %s: %w", site, err)
	}
	return nil
}
