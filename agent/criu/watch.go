package criu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher tells which image files are whole.
type Watcher struct {
	dir    string
	events *os.File
	names  chan string
	seen   map[string]bool
	err    error
}

// Watch watches a directory of images, from before the dump on. ctx ends it early.
func Watch(ctx context.Context, dir string) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", dir, err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watching %s: %w", dir, err)
	}
	w := &Watcher{dir: dir, events: os.NewFile(uintptr(fd), "inotify"), names: make(chan string, 256), seen: map[string]bool{}}
	go w.run(ctx)
	return w, nil
}

// Names yields the name of each image as soon as it has been written and closed, and is closed after Finish, when all have
// been yielded, or when ctx ends. A file that is written twice is yielded twice.
func (w *Watcher) Names() <-chan string { return w.names }

// Finish says that the dump has ended: nothing will be written any more.
func (w *Watcher) Finish() {
	_ = w.events.SetReadDeadline(time.Now()) // what was written until now is queued already, and read before the deadline counts
}

// Err is why Names ended, nil if all images were yielded. It may be called once Names is closed.
func (w *Watcher) Err() error { return w.err }

func (w *Watcher) run(ctx context.Context) {
	// Last: closing an inotify instance waits for a grace period of the kernel's, 10 to 20 ms, and nobody should wait for that.
	defer w.events.Close()
	defer close(w.names)
	defer context.AfterFunc(ctx, w.Finish)()
	buf := make([]byte, 1<<14)
	for {
		n, err := w.events.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.err = w.rest(ctx, buf)
			return
		}
		if err != nil {
			w.err = fmt.Errorf("watching %s: %w", w.dir, err)
			return
		}
		if w.err = w.yield(ctx, buf[:n]); w.err != nil {
			return
		}
	}
}

// rest yields what is queued, and the files that no event told of: those from before the watch.
func (w *Watcher) rest(ctx context.Context, buf []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := w.events.SyscallConn()
	if err != nil {
		return err
	}
	for more := true; more; {
		n := 0
		// Control, not Read: the deadline has passed.
		if err := conn.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) }); err != nil {
			return err
		}
		if more = n > 0; more {
			if err := w.yield(ctx, buf[:n]); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return fmt.Errorf("watching %s: %w", w.dir, err)
	}
	var names []string
	for _, e := range entries {
		if !w.seen[e.Name()] {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return w.send(ctx, names...)
}

func (w *Watcher) yield(ctx context.Context, events []byte) error {
	for _, e := range parseEvents(events) {
		if e.mask&unix.IN_Q_OVERFLOW != 0 {
			return fmt.Errorf("watching %s: too many files at once", w.dir)
		}
		if e.name == "" {
			continue
		}
		if err := w.send(ctx, e.name); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watcher) send(ctx context.Context, names ...string) error {
	for _, name := range names {
		w.seen[name] = true
		select {
		case w.names <- name:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

type event struct {
	mask uint32
	name string
}

// parseEvents reads what inotify(7) calls struct inotify_event.
func parseEvents(buf []byte) []event {
	const header = unix.SizeofInotifyEvent
	var events []event
	for len(buf) >= header {
		mask := binary.NativeEndian.Uint32(buf[4:])
		length := int(binary.NativeEndian.Uint32(buf[12:]))
		if len(buf) < header+length {
			break
		}
		name := strings.TrimRight(string(buf[header:header+length]), "\x00")
		events = append(events, event{mask: mask, name: name})
		buf = buf[header+length:]
	}
	return events
}
