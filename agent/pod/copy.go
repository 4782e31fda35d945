package pod

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// CopyFrom writes a tar of a file or directory of a running container. A symbolic link at the path itself is followed; the
// entries' names begin with the path's last part.
func (r *Runtime) CopyFrom(ctx context.Context, uid, container, path string, w io.Writer) error {
	err := r.inside(uid, container, func() error {
		resolved, err := filepath.EvalSymlinks(filepath.Join("/", path))
		if err != nil {
			return err
		}
		buffered := bufio.NewWriterSize(w, 1<<18)
		t := tar.NewWriter(buffered)
		base := filepath.Base(filepath.Join("/", path))
		err = filepath.WalkDir(resolved, func(at string, entry fs.DirEntry, err error) error {
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			name := filepath.Join(base, strings.TrimPrefix(at, resolved))
			return copyOut(t, at, strings.TrimPrefix(name, "/"), entry)
		})
		return errors.Join(err, t.Close(), buffered.Flush())
	})
	if err != nil {
		return fmt.Errorf("copying %s out of container %s: %w", path, container, err)
	}
	return nil
}

func copyOut(t *tar.Writer, at, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil || name == "" {
		return err
	}
	link := ""
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		if link, err = os.Readlink(at); err != nil {
			return err
		}
	case !mode.IsRegular() && !mode.IsDir():
		return nil // sockets, pipes and devices are no files that one copies
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(t, f, h.Size)
	return err
}

// CopyTo unpacks a tar in a directory of a running container, in which all becomes root's. Symbolic links of the container are
// followed; none leads out of it.
func (r *Runtime) CopyTo(ctx context.Context, uid, container, dir string, from io.Reader) error {
	err := r.inside(uid, container, func() error {
		dir := filepath.Join("/", dir)
		if info, err := os.Stat(dir); err != nil {
			return err
		} else if !info.IsDir() {
			return fmt.Errorf("%s: %w", dir, unix.ENOTDIR)
		}
		t := tar.NewReader(bufio.NewReaderSize(from, 1<<18))
		for {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if !filepath.IsLocal(h.Name) {
				return fmt.Errorf("%q leads out of the directory", h.Name)
			}
			if err := copyIn(filepath.Join(dir, h.Name), h, t); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("copying into %s of container %s: %w", dir, container, err)
	}
	return nil
}

func copyIn(at string, h *tar.Header, content io.Reader) error {
	mode := h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(at, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeSymlink:
		_ = os.Remove(at)
		return os.Symlink(h.Linkname, at)
	case tar.TypeReg:
		f, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
			return err
		}
		return os.Chtimes(at, h.ModTime, h.ModTime)
	}
	return fmt.Errorf("%s: only files, directories and symbolic links can be copied", h.Name)
}

// inside runs f in the mount namespace of a running container, whose root is then that of every path.
func (r *Runtime) inside(uid, container string, f func() error) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	status, err := r.containerStatus(s, container)
	if err != nil {
		return err
	}
	if status.Pid == 0 {
		return fmt.Errorf("%w: it is %s", ErrNotRunning, status.Phase)
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", status.Pid))
	if err != nil {
		return err
	}
	defer namespace.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			done <- fmt.Errorf("entering its mount namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
