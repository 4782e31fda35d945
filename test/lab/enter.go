package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exec returns a command that runs argv in all namespaces of a site. The caller sets its stdio and
// runs it. When ctx ends the command gets SIGTERM; if it doesn't end within 5 s, it is left behind in
// the site, where Down finds it.
func (l *Lab) Exec(ctx context.Context, site string, argv ...string) *exec.Cmd {
	args := append([]string{"lab", commandSiteExec, "--dir", l.dir, "--site", site, "--"}, argv...)
	cmd := exec.CommandContext(ctx, l.plan.Executable, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// SiteExec is the process behind Exec: see (*Lab).Run.
func SiteExec(dir, site string, argv []string) (exit int, err error) {
	l, err := openDir(dir)
	if err != nil {
		return 0, err
	}
	return l.Run(site, argv)
}

// Run runs argv in all namespaces of a site, with this process's stdio, terminal and, if the site
// has it, working directory, and returns its exit code, 128 + N if signal N ended it. It changes
// this process's environment, signals and open files: it is meant to be the last thing that a process does.
func (l *Lab) Run(site string, argv []string) (exit int, err error) {
	if len(argv) == 0 {
		return 0, errors.New("no command: want drover lab exec SITE -- COMMAND")
	}
	init, err := l.init(site)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(os.Setenv("HOSTNAME", site), os.Setenv(environmentKey, l.plan.Name), os.Setenv("PATH", l.plan.searchPath())); err != nil {
		return 0, err
	}
	if err := closeInherited(); err != nil {
		return 0, err
	}
	groups, err := openHierarchies()
	if err != nil {
		return 0, err
	}
	if err := groups.join(filepath.Join(l.cgroup(site), initGroup)); err != nil {
		return 0, err
	}
	dir, _ := os.Getwd()

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(signals)
	type outcome struct {
		exit int
		err  error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in the site and ends here
		exit, err := runInside(init, dir, argv, signals)
		done <- outcome{exit, err}
	}()
	o := <-done
	if o.err != nil {
		return 0, fmt.Errorf("running %q in site %s: %w", argv[0], site, o.err)
	}
	return o.exit, nil
}

// runInside takes the calling thread, which must be locked, into the namespaces of init, and runs
// the command from there.
func runInside(init int, dir string, argv []string, signals <-chan os.Signal) (int, error) {
	shared, err := sharesClocks(init)
	if err != nil {
		return 0, err
	}
	if err := enter(init); err != nil {
		return 0, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = "/"
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return 0, err
	}
	if !shared {
		argv = inSitesTime(argv)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-ended:
				return
			case s := <-signals:
				// A terminal sends its own signals to the whole foreground group.
				if s != syscall.SIGINT && s != syscall.SIGQUIT || !isTerminal(os.Stdin) {
					_ = cmd.Process.Signal(s) // it may have ended
				}
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// enter moves the calling thread into the namespaces of a site; for its PID namespace only its
// children. A thread can change its mount namespace once it shares its root and working directory
// with no other (setns(2)).
func enter(init int) error {
	kinds := []struct {
		name string
		flag int
	}{{"cgroup", unix.CLONE_NEWCGROUP}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leaving the threads' common directory: %w", err)
	}
	for _, kind := range kinds {
		if err := enterOne(fmt.Sprintf("/proc/%d/ns/%s", init, kind.name), kind.flag); err != nil {
			return err
		}
	}
	return nil
}

func enterOne(path string, kind int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening namespace %s: %w", path, err)
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	if err := unix.Setns(fd, kind); err != nil {
		return fmt.Errorf("entering namespace %s: %w", path, err)
	}
	return nil
}

// InNetwork calls f on a thread that is in the network namespace of a site. Sockets that f opens
// itself, not in goroutines, belong to the site for ever.
func (l *Lab) InNetwork(site string, f func() error) error {
	init, err := l.init(site)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := enterOne(fmt.Sprintf("/proc/%d/ns/net", init), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Dialer returns a DialContext that connects from within a site. Its address must be numeric.
func (l *Lab) Dialer(site string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = l.InNetwork(site, func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}
