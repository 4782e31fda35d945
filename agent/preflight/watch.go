package preflight

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// watch is a file that is watched by inotify or fanotify.
type watch struct {
	process *process
	by      string
	node    node
	kind    int32 // of the handle by which the kernel knows the file
	handle  []byte
}

// node is a file by its numbers.
type node struct{ dev, ino uint64 }

// parseWatch reads "... ino:9e7e sdev:800013 ... fhandle-bytes:8 fhandle-type:1 f_handle:7e9e000000000000".
func parseWatch(line string) watch {
	var w watch
	for word := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(word, ":")
		switch name {
		case "ino":
			_, _ = fmt.Sscanf(value, "%x", &w.node.ino)
		case "sdev":
			var dev uint32 // as the kernel has it: 12 bits of major and 20 of minor number
			_, _ = fmt.Sscanf(value, "%x", &dev)
			w.node.dev = unix.Mkdev(dev>>20, dev&0xfffff)
		case "fhandle-type":
			_, _ = fmt.Sscanf(value, "%x", &w.kind)
		case "f_handle":
			w.handle, _ = hex.DecodeString(value)
		}
	}
	return w
}

// checkInotify notes what is watched.
func (l *look) checkInotify(p *process, d descriptor) error {
	info, err := p.fdinfo(d.fd)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		if strings.HasPrefix(line, "inotify wd:") {
			l.report.Watches++
			l.noteWatch(p, line, "inotify")
		}
	}
	return nil
}

// checkFanotify notes what is marked. Of marks CRIU knows those of files and mounts; that of a file system would be lost
// (criu/proc_parse.c, parse_fdinfo_pid_s).
func (l *look) checkFanotify(p *process, d descriptor) error {
	info, err := p.fdinfo(d.fd)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		switch {
		case strings.HasPrefix(line, "fanotify ino:"):
			l.noteWatch(p, line, "fanotify")
		case strings.HasPrefix(line, "fanotify sdev:"):
			l.refuse(p, "let it watch directories or mounts", "it watches a whole file system by fanotify")
		}
	}
	return nil
}

func (l *look) noteWatch(p *process, line, by string) {
	w := parseWatch(line)
	w.process, w.by = p, by
	if w.handle == nil {
		l.refuse(p, "boot a newer kernel (6.6 knows handles of files on overlayfs), or watch a volume", "it watches a file by %s, and this kernel doesn't tell which", by)
		return
	}
	l.watches = append(l.watches, w)
}

// checkWatches finds a path for what is watched, without which CRIU can't restore it (criu/fsnotify.c, check_open_handle).
func (l *look) checkWatches() {
	paths := map[string][]string{}
	l.report.Watched = paths
	for _, c := range l.containers {
		mine := slices.DeleteFunc(slices.Clone(l.watches), func(w watch) bool { return w.process.container != c })
		if len(mine) == 0 {
			continue
		}
		found, wanted := c.openAll(mine)
		searched := c.search(wanted)
		for _, w := range mine {
			path, ok := searched[w.node]
			switch {
			case found[w.node]:
			case !ok:
				l.refuse(w.process, "let it stop watching what has been deleted or moved away, or restart the container",
					"it watches by %s a file whose path can't be found (inode %d)", w.by, w.node.ino)
			case !hinted(path) && !slices.Contains(paths[c.Name], path):
				paths[c.Name] = append(paths[c.Name], path)
			}
		}
		// CRIU goes through all that lies below the ones that come before the one that it looks for.
		slices.SortFunc(paths[c.Name], func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	}
}
