package criu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Watcher tells which image files are whole.
type Watcher struct {
	dir    string
	fd     int
	names  chan string
	finish chan struct{}
	seen   map[string]bool
	err    error
}

// Watch watches a directory of images, which should be started before the dump. ctx ends it early.
func Watch(ctx context.Context, dir string) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", dir, err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watching %s: %w", dir, err)
	}
	w := &Watcher{dir: dir, fd: fd, names: make(chan string, 256), finish: make(chan struct{}), seen: map[string]bool{}}
	go w.run(ctx)
	return w, nil
}

// Names yields the name of each image as soon as it has been written and closed, and is closed after Finish, when all have
// been yielded, or when ctx ends. A file that is written twice is yielded twice.
func (w *Watcher) Names() <-chan string { return w.names }

// Finish says that the dump has ended: nothing will be written any more. It is called once.
func (w *Watcher) Finish() { close(w.finish) }

// Err is why Names ended, nil if all images were yielded. It may be called once Names is closed.
func (w *Watcher) Err() error { return w.err }

func (w *Watcher) run(ctx context.Context) {
	defer close(w.names)
	defer unix.Close(w.fd)
	for {
		finished := false
		select {
		case <-w.finish:
			finished = true
		default:
		}
		names, err := w.closed()
		if err != nil {
			w.err = err
			return
		}
		if finished { // whatever was written before Finish has been read: events are queued as the file is closed
			rest, err := w.rest(names)
			if err != nil {
				w.err = err
				return
			}
			names = rest
		}
		for _, name := range names {
			w.seen[name] = true
			select {
			case w.names <- name:
			case <-ctx.Done():
				w.err = ctx.Err()
				return
			}
		}
		if finished {
			return
		}
		if ctx.Err() != nil {
			w.err = ctx.Err()
			return
		}
		const millisecond = 1
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, millisecond)
	}
}

// closed returns the names of the files that have been closed since it was last called.
func (w *Watcher) closed() ([]string, error) {
	var names []string
	buf := make([]byte, 1<<14)
	for {
		n, err := unix.Read(w.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return names, nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("watching %s: %w", w.dir, err)
		}
		for _, e := range parseEvents(buf[:n]) {
			if e.mask&unix.IN_Q_OVERFLOW != 0 {
				return nil, fmt.Errorf("watching %s: too many files at once", w.dir)
			}
			if e.name != "" {
				names = append(names, e.name)
			}
		}
	}
}

// rest adds the files that no event told of: those from before the watch.
func (w *Watcher) rest(names []string) ([]string, error) {
	told := map[string]bool{}
	for _, name := range names {
		told[name] = true
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", w.dir, err)
	}
	var more []string
	for _, e := range entries {
		if !w.seen[e.Name()] && !told[e.Name()] {
			more = append(more, e.Name())
		}
	}
	sort.Strings(more)
	return append(names, more...), nil
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
