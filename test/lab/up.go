package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Up starts a lab and returns when it serves, telling its progress in lines. A lab of that name that
// is up already is returned as it is; one that an interrupted Up left behind is cleaned away first.
// When Up fails or ctx ends, it leaves nothing.
func Up(ctx context.Context, o Options, progress func(string)) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab makes namespaces and devices: run this as root")
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("it took more than %v", o.Timeout))
	defer cancel()
	dir := filepath.Join(stateRoot, o.Name)
	lock, err := lockDir(ctx, dir, true)
	if err != nil {
		return nil, fmt.Errorf("lab %q: %w", o.Name, err)
	}
	defer lock.Close()

	switch l, err := openDir(dir); {
	case err == nil && l.plan.Complete:
		if err := l.whole(); err != nil {
			return nil, fmt.Errorf("%w; run drover lab down --name %s first", err, o.Name)
		}
		progress(fmt.Sprintf("lab %s is up already", o.Name))
		return l, nil
	case err == nil || !errors.Is(err, ErrNotUp):
		progress("cleaning up after an interrupted drover lab up")
		if err := destroy(ctx, o.Name, nil); err != nil {
			return nil, err
		}
		lock.Close() // of the directory that is gone
		if lock, err = lockDir(ctx, dir, true); err != nil {
			return nil, fmt.Errorf("lab %q: %w", o.Name, err)
		}
		defer lock.Close()
	}

	l := &Lab{plan: o.plan(), dir: dir}
	if err := l.build(ctx, o, progress); err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		progress("taking down what was started")
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("lab %q didn't come up: %w", o.Name, err), destroy(down, o.Name, l.children))
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context, o Options, progress func(string)) error {
	if err := l.save(); err != nil {
		return err
	}
	if err := l.configure(); err != nil {
		return err
	}
	groups, err := openHierarchies()
	if err != nil {
		return err
	}
	if err := groups.make(cgroupOf(l.plan.Name)); err != nil {
		return err
	}
	groups.delegate(cgroupOf(l.plan.Name))
	var inits []*exec.Cmd
	for _, s := range l.plan.Sites {
		if err := groups.make(l.cgroup(s.Name)); err != nil {
			return err
		}
		init, err := l.startSite(s.Name)
		if err != nil {
			return err
		}
		inits = append(inits, init)
	}
	for i, s := range l.plan.Sites {
		if err := await(ctx, inits[i], l.sitePath(s.Name, "init.sock"), l.sitePath(s.Name, "init.log")); err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
		progress(fmt.Sprintf("site %s is there: %s", s.Name, s.Address))
	}
	router, err := l.startRouter()
	if err != nil {
		return err
	}
	if err := await(ctx, router, filepath.Join(l.dir, "wan.sock"), filepath.Join(l.dir, "wan.log")); err != nil {
		return fmt.Errorf("WAN router: %w", err)
	}
	progress(fmt.Sprintf("the WAN is there: %v, %v one way", l.plan.Conditions.Rate, l.plan.Conditions.Delay))
	if !l.plan.Bare {
		if err := l.startAgents(ctx, o, progress); err != nil {
			return err
		}
	}
	l.plan.Complete = true
	return l.save()
}

// startSite starts a site's init in namespaces of its own.
func (l *Lab) startSite(site string) (*exec.Cmd, error) {
	cmd := exec.Command(l.plan.Executable, "lab", commandSiteInit, "--dir", l.dir, "--site", site)
	cmd.Env = environment(l.plan, site)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS,
	}
	if err := l.detach(cmd, l.sitePath(site, "init.log")); err != nil {
		return nil, fmt.Errorf("starting site %s: %w", site, err)
	}
	return cmd, nil
}

func (l *Lab) startRouter() (*exec.Cmd, error) {
	cmd := exec.Command(l.plan.Executable, "lab", commandRouter, "--dir", l.dir)
	cmd.Env = environment(l.plan, "")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := l.detach(cmd, filepath.Join(l.dir, "wan.log")); err != nil {
		return nil, fmt.Errorf("starting the WAN router: %w", err)
	}
	return cmd, nil
}

// detach starts a process that outlives this one and writes to the log.
func (l *Lab) detach(cmd *exec.Cmd, log string) error {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", f, f
	if err := cmd.Start(); err != nil {
		return err
	}
	l.children = append(l.children, cmd)
	return nil
}

// await waits for a socket that the process publishes when it is ready. A process that ends before
// is an error with the end of its log.
func await(ctx context.Context, process *exec.Cmd, socket, log string) error {
	for {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		// It is only looked at: destroy reaps it.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, process.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("looking after its process: %w", err)
		}
		if info.Signo != 0 {
			return fmt.Errorf("its process died:\n%s", tail(log))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for its process: %w:\n%s", err, tail(log))
		}
	}
}

// whole returns an error that says what of the lab has died.
func (l *Lab) whole() error {
	found, err := processes(l.dir)
	if err != nil {
		return err
	}
	lives := map[string]bool{}
	for _, p := range found {
		lives[p.site] = true
	}
	if !lives[""] {
		return fmt.Errorf("lab %q is broken: its WAN router has died", l.plan.Name)
	}
	for _, s := range l.plan.Sites {
		if !lives[s.Name] {
			return fmt.Errorf("lab %q is broken: site %s has died", l.plan.Name, s.Name)
		}
	}
	return nil
}
