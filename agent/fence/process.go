package fence

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options say what a fence process is.
type Options struct {
	Dir     string // of the sockets of this node's fences; nobody but root may enter it
	Version string // of this program
}

// ready is what a fence says once it serves.
const ready = "ready"

// Run is the life of a fence process: it writes one line to its standard output, then serves on a socket in opts.Dir until it is
// asked to end. Signals that ask for an end are ignored, as pods would run on without it, unless the host is shut down; SIGKILL ends
// it.
func Run(opts Options) error {
	runtime.LockOSThread()
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go endWithHost(asked)
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	weak := secure()
	path := socketPath(opts.Dir, os.Getpid())
	listener, err := listen(path)
	if err != nil {
		return err
	}
	s, err := newServer(listener, opts.Version, weak)
	if err == nil {
		err = rehearse()
	}
	if err == nil {
		err = sayReady(filepath.Join(opts.Dir, logName))
	}
	if err == nil {
		err = s.run()
	}
	err = errors.Join(err, os.Remove(path))
	tidy(opts.Dir)
	return err
}

// endWithHost ends the process when it is asked to by a host that is shut down: that waits for all that is left (systemd-shutdown(8),
// into which systemd turns then; a name has 15 letters in /proc).
func endWithHost(asked <-chan os.Signal) {
	for range asked {
		if name, err := os.ReadFile("/proc/1/comm"); err == nil && strings.HasPrefix(string(name), "systemd-shutdow") {
			os.Exit(0)
		}
	}
}

// tidy removes the directory of the last fence, unless its log says something.
func tidy(dir string) {
	log := filepath.Join(dir, logName)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		return
	}
	if info, err := os.Stat(log); err == nil && info.Size() == 0 {
		_ = os.Remove(log) // what can't be removed does no harm
		_ = os.Remove(dir)
	}
}

// logName is the file in which a fence says why it had to end.
const logName = "log"

// sayReady tells whoever started the fence, which listens no more then: what is said later goes to the log.
func sayReady(log string) error {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the fence's log: %w", err)
	}
	defer f.Close()
	if _, err := fmt.Println(ready); err != nil {
		return fmt.Errorf("telling the agent that the fence serves: %w", err)
	}
	for _, fd := range []int{unix.Stdout, unix.Stderr} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return fmt.Errorf("leaving the agent's pipe: %w", err)
		}
	}
	return nil
}

// socketPath is where the fence with that process id listens: a new one can be there before an old one ends.
func socketPath(dir string, pid int) string { return filepath.Join(dir, fmt.Sprint(pid)) }

func listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("making the fence's socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a process before that had this id
		return -1, errors.Join(err, unix.Close(fd))
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, errors.Join(fmt.Errorf("binding the fence's socket %s: %w", path, err), unix.Close(fd))
	}
	if err := errors.Join(unix.Chmod(path, 0o600), unix.Listen(fd, maxClients)); err != nil {
		return -1, errors.Join(fmt.Errorf("listening on the fence's socket %s: %w", path, err), unix.Close(fd))
	}
	return fd, nil
}

// secure makes sure of what the fence needs to act: processor, memory, life. It returns what it could not get.
func secure() string {
	var weak []string
	// Before the memory is locked, which it would stay.
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		weak = append(weak, fmt.Sprintf("the kernel may end it when memory is short: %v", err))
	}
	// The lowest real-time priority is above all pods. Where a control group has no share of it (CONFIG_RT_GROUP_SCHED) the
	// best nice value has to do.
	realtime := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	if unix.SchedSetAttr(0, realtime, 0) != nil {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err != nil {
			weak = append(weak, fmt.Sprintf("it may wait for the processor: %v", err))
		}
	}
	// On fault: all that it has touched stays, and rehearse touches what it needs. Without that the kernel would also fill the
	// 64 MiB in which Go's heap grows.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		weak = append(weak, fmt.Sprintf("it may wait for the disk: its memory isn't locked: %v", err))
	}
	return strings.Join(weak, "; ")
}

// rehearse freezes a pod that isn't one, so that all code and memory that this needs is there, and locked, when it counts.
func rehearse() error {
	fd, err := unix.MemfdCreate("rehearsal", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("rehearsing a freeze: %w", err)
	}
	again, err := unix.Dup(fd)
	if err != nil {
		return errors.Join(fmt.Errorf("rehearsing a freeze: %w", err), unix.Close(fd))
	}
	g := NewGuard()
	g.Hold("rehearsal", []Freezer{&cgroup{ask: fd, tell: again, freeze: []byte("FROZEN"), thaw: []byte("THAWED"), frozen: []byte("FROZEN")}})
	defer g.Drop("rehearsal")
	t, err := openTimers()
	if err != nil {
		return err
	}
	defer t.close()
	now := Now()
	g.lease = Instant{Boot: now.Boot + 1, Wall: now.Wall + 1}
	if err := t.set(g.lease); err != nil {
		return err
	}
	polled := []unix.PollFd{{Fd: int32(t.boot), Events: unix.POLLIN}}
	if _, err := unix.Poll(polled, 100); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("rehearsing a freeze: %w", err)
	}
	t.clear(t.boot)
	g.Look(Now())
	if all := g.held(); !all[0].Still {
		return errors.New("rehearsing a freeze: it had no effect")
	}
	return nil
}
