package pod

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Logs writes what a container has written to its standard output and error, in the order in which it came, at every site: the
// log moves with the pod. With follow it goes on until the container has ended or ctx ends, which is no error.
func (r *Runtime) Logs(ctx context.Context, uid, container string, follow bool, w io.Writer) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	p := r.container(uid, container)
	l := newLogReader(p.log(), w)
	defer l.close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := r.containerStatus(s, container) // before the read: what was written until then is not missed
		monitor, _ := readPid(p.conmonPid())
		ended := err != nil || status.Pid == 0 && !alive(monitor)
		if err := l.copy(); err != nil {
			return fmt.Errorf("reading the log of container %s: %w", container, err)
		}
		if !follow || ended || ctx.Err() != nil {
			return l.flush()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// logReader strips what conmon puts before each line: a time, the stream, and whether the line is complete (F) or to be
// continued (P). See the CRI's log format, kubernetes/design-proposals-archive, node/kubelet-cri-logging.md.
type logReader struct {
	path string
	w    io.Writer
	file *os.File
	in   *bufio.Reader
	part []byte // of a line of the log that is still being written

	// begun holds for each stream what the pod has written of a line that is to be continued: in between there may be
	// lines of the other stream.
	begun map[string][]byte
}

// maxBegun is how much of a line is held back, in bytes.
const maxBegun = 1 << 20

func newLogReader(path string, w io.Writer) *logReader {
	return &logReader{path: path, w: w, begun: map[string][]byte{}}
}

// copy writes all complete lines that there are, also those of a log that was begun anew.
func (l *logReader) copy() error {
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
			if err := l.write(l.part); err != nil {
				return err
			}
			l.part = l.part[:0]
		}
		if !replaced {
			return nil
		}
		l.close()
	}
}

func (l *logReader) write(line []byte) error {
	fields := bytes.SplitN(line, []byte(" "), 4)
	if len(fields) < 4 {
		return nil
	}
	stream, content := string(fields[1]), fields[3]
	if string(fields[2]) == "P" {
		l.begun[stream] = append(l.begun[stream], bytes.TrimSuffix(content, []byte("\n"))...)
		if len(l.begun[stream]) < maxBegun {
			return nil
		}
		content = nil
	}
	_, err := l.w.Write(append(l.begun[stream], content...))
	delete(l.begun, stream)
	return err
}

// flush writes what has been held back.
func (l *logReader) flush() error {
	for stream, begun := range l.begun {
		if _, err := l.w.Write(begun); err != nil {
			return err
		}
		delete(l.begun, stream)
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

// LogFile is where a container's log is, or will be: what has come of it from another site is to be put there before the
// container is restored, and its monitor goes on at the end of it.
func (r *Runtime) LogFile(uid, container string) string { return r.container(uid, container).log() }
