package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport/wire"
	"github.com/drover-mesh/drover/volumes"
)

// A generation of a pod's files is a body of sections, each for a directory or a log, and a frame that ends it:
//
//	tree{name}          snapshot, as package volumes writes it
//	log{name, offset}   body
//	end

// section announces what follows.
type section struct {
	Name   string `json:"name"`             // of a tree, or the container of a log
	Offset int64  `json:"offset,omitempty"` // in the log, in bytes; what is there from it on is replaced
}

// files packs what changed in a pod's files since they were last packed.
type files struct {
	host *host
	pod  state.Pod
	last map[string]volumes.Manifest
	logs map[string]logMark
}

// logMark is how much of a log was packed, and of which file.
type logMark struct {
	info os.FileInfo
	size int64
}

// Pack implements [migrate.Upper].
func (f *files) Pack(ctx context.Context, w io.Writer, final bool) error {
	trees, err := f.host.trees(f.pod)
	if err != nil {
		return err
	}
	if !final {
		for _, t := range trees {
			// From here on a store through a shared mapping shows in the file's time.
			if err := volumes.SyncFS(t.dir); err != nil {
				return err
			}
		}
	}
	mapped := map[string]map[string]bool{}
	for _, c := range f.pod.Containers {
		if mapped[c.Name], err = mappedFiles(f.host.runtime.Freezer(f.pod.UID, c.Name).Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, t := range trees {
		if err := wire.WriteMessage(w, frameTree, section{Name: t.name}); err != nil {
			return err
		}
		m, _, err := volumes.Pack(ctx, w, t.dir, f.last[t.name], func(path string) bool { return isMapped(mapped, t.name, path) })
		if err != nil {
			return err
		}
		f.last[t.name] = m
	}
	for _, c := range f.pod.Containers {
		if err := f.packLog(w, c.Name); err != nil {
			return fmt.Errorf("packing the log of container %s: %w", c.Name, err)
		}
	}
	return wire.WriteFrame(w, frameEnd, nil)
}

// isMapped says whether a container maps that file of a tree. Where a volume is mounted isn't looked up: a path that ends like
// it is taken for it.
func isMapped(mapped map[string]map[string]bool, tree, path string) bool {
	if container, ok := strings.CutPrefix(tree, "root/"); ok {
		return mapped[container][path]
	}
	for _, files := range mapped {
		for file := range files {
			if strings.HasSuffix(file, "/"+path) {
				return true
			}
		}
	}
	return false
}

// packLog sends what a log has grown by. One that was begun anew is sent anew.
func (f *files) packLog(w io.Writer, container string) error {
	file, err := os.Open(f.host.runtime.LogFile(f.pod.UID, container))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	from := f.logs[container]
	if from.info == nil || !os.SameFile(from.info, info) || info.Size() < from.size {
		from = logMark{}
	}
	if err := wire.WriteMessage(w, frameLog, section{Name: container, Offset: from.size}); err != nil {
		return err
	}
	if _, err := file.Seek(from.size, io.SeekStart); err != nil {
		return err
	}
	f.logs[container] = logMark{info, info.Size()}
	return writeBody(w, func(b io.Writer) error {
		_, err := io.CopyN(b, file, info.Size()-from.size)
		return err
	})
}

// ApplyUpper implements [migrate.Destination].
func (d destination) ApplyUpper(ctx context.Context, p migrate.Plan, r io.Reader) error {
	trees, err := d.trees(p.Pod)
	if err != nil {
		return err
	}
	dirs := map[string]string{}
	for _, t := range trees {
		dirs[t.name] = t.dir
	}
	for {
		t, payload, err := wire.ReadFrame(r, maxData)
		if err != nil {
			return err
		}
		if t == frameEnd {
			break
		}
		var s section
		if err := (wire.Message{Type: t, Body: payload}).Decode(&s); err != nil {
			return err
		}
		switch {
		case t == frameTree && dirs[s.Name] != "":
			err = volumes.Apply(ctx, r, dirs[s.Name])
		case t == frameLog && hasContainer(p.Pod, s.Name):
			err = writeLog(d.runtime.LogFile(p.Pod.UID, s.Name), s.Offset, &body{r: r, close: func() {}})
		default:
			err = fmt.Errorf("the pod has no files %q", s.Name)
		}
		if err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, r) // the end of the body
	return err
}

func hasContainer(p state.Pod, name string) bool {
	for _, c := range p.Containers {
		if c.Name == name {
			return true
		}
	}
	return false
}

// writeLog puts what has come of a log behind what came before.
func writeLog(path string, offset int64, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if offset < 0 || offset > info.Size() {
		return fmt.Errorf("a log of %d bytes can't go on at %d", info.Size(), offset)
	}
	if err := f.Truncate(offset); err != nil {
		return err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return err
}
