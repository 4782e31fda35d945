package fence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// answerWithin bounds how long a fence may take to answer.
const answerWithin = 2 * time.Second

// Fence is a fence process as its agent sees it. Its methods may be called concurrently; when one of them returns nil, the fence
// has done it. The process outlives its Fence.
type Fence struct {
	conn    *net.UnixConn
	answers chan []byte
	gone    chan struct{} // closed when the connection ends
	process int           // descriptor of the process
	path    string        // of its socket

	mu sync.Mutex // held from a request to its answer
}

// dial connects to the fence that listens there.
func dial(path string) (*Fence, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("reaching the fence: %w", err)
	}
	process, err := processOf(conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reaching the fence: %w", err), conn.Close())
	}
	f := &Fence{conn: conn, answers: make(chan []byte, 1), gone: make(chan struct{}), process: process, path: path}
	go f.receive()
	return f, nil
}

// processOf opens the process that listens at the other end: pidfd_open(2).
func processOf(conn *net.UnixConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var peer *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) { peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return -1, err
	}
	if asked != nil {
		return -1, asked
	}
	return unix.PidfdOpen(int(peer.Pid), 0)
}

func (f *Fence) receive() {
	defer close(f.gone)
	buf := make([]byte, maxMessage)
	for {
		n, err := f.conn.Read(buf)
		if err != nil || n == 0 {
			return
		}
		select {
		case f.answers <- append([]byte(nil), buf[:n]...):
		default: // nobody has asked
			return
		}
	}
}

// Gone is closed when the process has ended, or has been given up because it didn't answer.
func (f *Fence) Gone() <-chan struct{} { return f.gone }

// Close ends the connection. The process goes on. Nothing of f may be used after it.
func (f *Fence) Close() error {
	err := f.conn.Close()
	<-f.gone
	return errors.Join(err, unix.Close(f.process))
}

// Kill ends the process, whatever it does: one that doesn't answer would go on to freeze what it holds. One that has ended is fine.
func (f *Fence) Kill() error {
	if err := unix.PidfdSendSignal(f.process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the fence: %w", err)
	}
	if err := os.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the socket of a fence: %w", err)
	}
	return nil
}

// Hold puts a pod under the fence, or tells where its cgroups are now. cgroups are directories; freezing them must stop all of
// the pod. Without a valid lease the pod is frozen at once.
func (f *Fence) Hold(ctx context.Context, uid string, cgroups ...string) (Status, error) {
	return f.ask(ctx, request{Op: opHold, UID: uid, Cgroups: cgroups})
}

// Drop takes a pod from under the fence; a frozen one stays frozen. One that isn't under it is fine.
func (f *Fence) Drop(ctx context.Context, uid string) (Status, error) {
	return f.ask(ctx, request{Op: opDrop, UID: uid})
}

// Lease says when the node's lease ends now. Pods that are frozen stay so.
func (f *Fence) Lease(ctx context.Context, end Instant) (Status, error) {
	return f.ask(ctx, request{Op: opLease, Lease: &end})
}

// Thaw lets a pod go on that the fence has frozen. It is an error if there is no lease.
func (f *Fence) Thaw(ctx context.Context, uid string) (Status, error) {
	return f.ask(ctx, request{Op: opThaw, UID: uid})
}

// Status asks the fence what it holds.
func (f *Fence) Status(ctx context.Context) (Status, error) {
	return f.ask(ctx, request{Op: opStatus})
}

// End ends the process. One under which there are pods refuses unless force is set.
func (f *Fence) End(ctx context.Context, force bool) error {
	_, err := f.ask(ctx, request{Op: opEnd, Force: force})
	return err
}

// ask sends a request and waits for its answer. A fence that doesn't answer is given up: what it would say later could not be
// told from the answer to something else.
func (f *Fence) ask(ctx context.Context, r request) (Status, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return Status{}, err
	}
	if len(text) > maxMessage {
		return Status{}, fmt.Errorf("asking the fence to %s: %d bytes are too much", r.Op, len(text))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Not sooner, whatever becomes of the caller: a fence is given up only because of itself.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	if _, err := f.conn.Write(text); err != nil {
		return Status{}, fmt.Errorf("asking the fence to %s: %w", r.Op, err)
	}
	got, err := f.await(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("asking the fence to %s: %w", r.Op, err)
	}
	var a answer
	if err := json.Unmarshal(got, &a); err != nil {
		return Status{}, errors.Join(fmt.Errorf("reading the fence's answer: %w", err), f.conn.Close())
	}
	if a.Error != "" {
		return a.Status, fmt.Errorf("asking the fence to %s: %s", r.Op, a.Error)
	}
	return a.Status, nil
}

func (f *Fence) await(ctx context.Context) ([]byte, error) {
	select {
	case got := <-f.answers:
		return got, nil
	case <-f.gone:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), f.conn.Close())
	}
	select {
	case got := <-f.answers: // its last
		return got, nil
	default:
		return nil, errors.New("it has ended")
	}
}
