package pod

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// LogOptions say which lines of a log are wanted.
type LogOptions struct {
	Follow     bool      // go on until the container has ended
	Since      time.Time // only lines that were written after that
	Tail       int       // only the last so many of those that are there; 0 means all
	Timestamps bool      // put before each line when it was written
}

// Logs gives put the lines that a container has written to its standard output and error, in the order in which they came, at
// every site: the log moves with the pod. put also learns when the last of the lines was written. Following ends with ctx, which
// is no error.
func (r *Runtime) Logs(ctx context.Context, uid, container string, o LogOptions, put func(lines []byte, last time.Time) error) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	p := r.container(uid, container)
	l := &logReader{path: p.log(), options: o, begun: map[string][]byte{}}
	defer l.close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		status, err := r.containerStatus(s, container) // before the read: what was written until then is not missed
		monitor, _ := readPid(p.conmonPid())
		ended := err != nil || status.Pid == 0 && !alive(monitor)
		if err := l.read(); err != nil {
			return fmt.Errorf("reading the log of container %s: %w", container, err)
		}
		last := !o.Follow || ended || ctx.Err() != nil
		if last {
			l.flush()
		}
		if first {
			l.cut()
		}
		if err := l.put(put); err != nil || last {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// LogFile is where a container's log is, or will be: what has come of it from another site is to be put there before the
// container is restored, and its monitor goes on at the end of it.
func (r *Runtime) LogFile(uid, container string) string { return r.container(uid, container).log() }

// logReader strips what conmon puts before each line: a time, the stream, and whether the line is complete (F) or to be
// continued (P). See the CRI's log format, kubernetes/design-proposals-archive, node/kubelet-cri-logging.md.
type logReader struct {
	path    string
	options LogOptions
	file    *os.File
	in      *bufio.Reader
	part    []byte // of a line of the log that is still being written

	// begun holds for each stream what the pod has written of a line that is to be continued: in between there may be
	// lines of the other stream.
	begun map[string][]byte
	lines []logLine // that were read and not put yet
}

// logLine is a line as the container wrote it, with its end if it has one.
type logLine struct {
	text    []byte
	written time.Time
}

// maxBegun is how much of a line is held back, in bytes.
const maxBegun = 1 << 20

// read reads all complete lines that there are, also those of a log that was begun anew.
func (l *logReader) read() error {
	for {
		if l.file == nil {
			f, err := os.Open(l.path)
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			l.file, l.in, l.part = f, bufio.NewReader(f), nil
		}
		replaced := l.replaced()
		for {
			line, err := l.in.ReadBytes('\n')
			l.part = append(l.part, line...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			l.take(l.part)
			l.part = l.part[:0]
		}
		if !replaced {
			return nil
		}
		l.close()
	}
}

// take takes in a line of the log.
func (l *logReader) take(line []byte) {
	fields := bytes.SplitN(line, []byte(" "), 4)
	if len(fields) < 4 {
		return
	}
	written, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	if err != nil || !written.After(l.options.Since) {
		return
	}
	stream, content := string(fields[1]), fields[3]
	if string(fields[2]) == "P" {
		l.begun[stream] = append(l.begun[stream], bytes.TrimSuffix(content, []byte("\n"))...)
		if len(l.begun[stream]) < maxBegun {
			return
		}
		content = nil
	}
	text := append(l.begun[stream], content...)
	if l.options.Timestamps {
		text = append(append([]byte{}, written.UTC().Format(time.RFC3339Nano)+" "...), text...)
	}
	l.lines = append(l.lines, logLine{bytes.Clone(text), written})
	delete(l.begun, stream)
	// What is not going to be wanted need not be kept.
	if n := l.options.Tail; n > 0 && len(l.lines) > 2*n+1024 {
		l.lines = slices.Clone(l.lines[len(l.lines)-n:])
	}
}

// flush takes what has been held back for lines.
func (l *logReader) flush() {
	for stream, begun := range l.begun {
		l.lines = append(l.lines, logLine{text: begun})
		delete(l.begun, stream)
	}
}

// cut leaves the lines that are wanted of those that were there when the reading began.
func (l *logReader) cut() {
	if n := l.options.Tail; n > 0 && len(l.lines) > n {
		l.lines = l.lines[len(l.lines)-n:]
	}
	l.options.Tail = 0
}

// put hands on what was read, many lines at a time.
func (l *logReader) put(to func([]byte, time.Time) error) error {
	const batch = 64 << 10
	for len(l.lines) > 0 {
		var text []byte
		var last time.Time
		for len(l.lines) > 0 && len(text) < batch {
			text = append(text, l.lines[0].text...)
			if !l.lines[0].written.IsZero() {
				last = l.lines[0].written
			}
			l.lines = l.lines[1:]
		}
		if err := to(text, last); err != nil {
			return err
		}
	}
	return nil
}

// replaced tells whether the path holds another file by now.
func (l *logReader) replaced() bool {
	here, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(l.path)
	return err == nil && !os.SameFile(here, there)
}

func (l *logReader) close() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
