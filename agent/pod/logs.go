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

// Logs writes what the pod has written on this node to its standard output and error, in the order in which it came. With
// follow it goes on until the pod has ended or ctx ends, which is no error.
func (r *Runtime) Logs(ctx context.Context, uid string, follow bool, w io.Writer) error {
	if _, err := r.spec(uid); err != nil {
		return err
	}
	l := logReader{path: r.paths(uid).log(), w: w}
	defer l.close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := r.Status(uid) // before the read: what was written until then is not missed
		ended := err != nil || status.Pid == 0 && !alive(r.monitorPid(uid))
		if err := l.copy(); err != nil {
			return fmt.Errorf("reading the log of pod %s: %w", uid, err)
		}
		if !follow || ended || ctx.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (r *Runtime) monitorPid(uid string) int {
	pid, _ := readPid(r.paths(uid).conmonPid())
	return pid
}

// logReader strips what conmon puts before each line: a time, the stream, and whether the line is complete (F) or to be
// continued (P). See the CRI's log format, kubernetes/design-proposals-archive, node/kubelet-cri-logging.md.
type logReader struct {
	path string
	w    io.Writer
	file *os.File
	in   *bufio.Reader
	part []byte // of a line that is still being written
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
	content := fields[3]
	if string(fields[2]) == "P" {
		content = bytes.TrimSuffix(content, []byte("\n"))
	}
	_, err := l.w.Write(content)
	return err
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
