package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxClients bounds how many agents, and people who look, speak to a fence at a time.
const maxClients = 16

// server is the one thread of the fence: it waits for timers and for requests, and looks after what the guard holds.
type server struct {
	guard   *Guard
	version string
	weak    string
	timers  timers
	polled  []unix.PollFd // the timers, the listener, then the clients
	buf     []byte
	ended   bool
}

// The places in polled before the clients.
const (
	bootPlace = iota
	wallPlace
	listenPlace
	clientPlaces
)

// newServer makes a fence of a listening seqpacket socket, which it owns.
func newServer(listener int, version, weak string) (*server, error) {
	t, err := openTimers()
	if err != nil {
		return nil, err
	}
	s := &server{guard: NewGuard(), version: version, weak: weak, timers: t, buf: make([]byte, maxMessage)}
	s.polled = make([]unix.PollFd, 0, clientPlaces+maxClients)
	for _, fd := range []int{t.boot, t.wall, listener} {
		s.polled = append(s.polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return s, nil
}

// run serves until it is asked to end.
func (s *server) run() error {
	defer s.close()
	for !s.ended {
		if err := s.wait(s.guard.Look(Now())); err != nil {
			return err
		}
		s.timers.clear(s.takeReady(bootPlace))
		s.timers.clear(s.takeReady(wallPlace))
		for i := len(s.polled) - 1; i >= clientPlaces; i-- {
			if fd := s.takeReady(i); fd >= 0 && !s.serve(fd) {
				_ = unix.Close(fd)
				s.polled = slices.Delete(s.polled, i, i+1)
			}
		}
		if fd := s.takeReady(listenPlace); fd >= 0 {
			s.accept(fd)
		}
	}
	return nil
}

// wait waits for whatever comes first; 0 is no bound.
func (s *server) wait(d time.Duration) error {
	ms := -1
	if d > 0 {
		ms = int(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	}
	if _, err := unix.Poll(s.polled, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("waiting for the end of the lease: %w", err)
	}
	return nil
}

// takeReady returns the descriptor at that place if something has happened to it, else -1.
func (s *server) takeReady(place int) int {
	p := &s.polled[place]
	if p.Revents == 0 {
		return -1
	}
	p.Revents = 0
	return int(p.Fd)
}

func (s *server) accept(listener int) {
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return // the client has left
	}
	if len(s.polled) == cap(s.polled) {
		_ = unix.Close(fd)
		return
	}
	s.polled = append(s.polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
}

// serve answers one request of a client. It returns false when the client has left, or says what isn't understood.
func (s *server) serve(fd int) bool {
	n, err := unix.Read(fd, s.buf)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true
	}
	var r request
	if err != nil || n == 0 || json.Unmarshal(s.buf[:n], &r) != nil {
		return false
	}
	var a answer
	if err := s.do(r); err != nil {
		a.Error = err.Error()
	}
	now := Now()
	s.guard.Look(now) // so that what is said to be frozen has been asked to
	a.Status = Status{
		Version: s.version, Pid: os.Getpid(), Lease: s.guard.lease, Valid: s.guard.lease.valid(now), Weak: s.weak, Pods: s.guard.held(),
	}
	text, err := json.Marshal(a)
	if err != nil {
		return false
	}
	_, err = unix.Write(fd, text)
	return err == nil
}

func (s *server) do(r request) error {
	switch r.Op {
	case opStatus:
		return nil
	case opHold:
		return s.hold(r)
	case opDrop:
		s.guard.Drop(r.UID)
		return nil
	case opThaw:
		return s.guard.Thaw(r.UID, Now())
	case opLease:
		if r.Lease == nil {
			return errors.New("a lease without an end")
		}
		s.guard.Renew(*r.Lease, Now())
		return s.timers.set(*r.Lease)
	case opEnd:
		if n := len(s.guard.pods); n > 0 && !r.Force {
			return fmt.Errorf("%d pods are under it", n)
		}
		s.ended = true
		return nil
	}
	return fmt.Errorf("%q is not known to this fence", r.Op)
}

func (s *server) hold(r request) error {
	if r.UID == "" || len(r.Cgroups) == 0 {
		return errors.New("a pod without a name or a cgroup")
	}
	var all []Freezer
	for _, dir := range r.Cgroups {
		c, err := openCgroup(dir)
		if err != nil {
			for _, f := range all {
				f.Close()
			}
			return err
		}
		all = append(all, c)
	}
	s.guard.Hold(r.UID, all)
	return nil
}

func (s *server) close() {
	for uid := range s.guard.pods {
		s.guard.Drop(uid)
	}
	for _, p := range s.polled[listenPlace:] {
		_ = unix.Close(int(p.Fd))
	}
	s.timers.close()
}
