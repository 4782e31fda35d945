package criu

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tmpfsImage names the image of a tmpfs that is mounted there.
func tmpfsImage(mount string) string {
	return "tmpfs" + strings.ReplaceAll(mount, "/", "-") + ".tar"
}

// packTmpfs writes an image of each directory, none for an empty one. CRIU would run tar and gzip for each.
func packTmpfs(images string, dirs map[string]string) error {
	for mount, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("dumping %s: %w", mount, err)
		}
		if len(entries) == 0 {
			continue
		}
		if err := pack(filepath.Join(images, tmpfsImage(mount)), dir); err != nil {
			return fmt.Errorf("dumping %s: %w", mount, err)
		}
	}
	return nil
}

func pack(image, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := os.OpenFile(image, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<18)
	w := tar.NewWriter(buffered)
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return packEntry(w, root, path, entry)
	})
	return errors.Join(err, w.Close(), buffered.Flush())
}

func packEntry(w *tar.Writer, root *os.Root, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = root.Readlink(path); err != nil {
			return err
		}
	case info.Mode()&(fs.ModeSocket|fs.ModeDevice) != 0:
		return nil // CRIU binds sockets again by itself; the mount allows no devices
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Format = path, tar.FormatPAX // nanoseconds
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := root.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(w, file, header.Size)
	return err
}

// unpackTmpfs fills each directory from its image, if there is one.
func unpackTmpfs(images string, dirs map[string]string) error {
	for mount, dir := range dirs {
		f, err := os.Open(filepath.Join(images, tmpfsImage(mount)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = unpack(f, dir)
			f.Close()
		}
		if err != nil {
			return fmt.Errorf("restoring %s: %w", mount, err)
		}
	}
	return nil
}

// unpack trusts the image no further than its directory: an entry whose path leads out of it, by .. or a link, is an error.
func unpack(image io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(bufio.NewReaderSize(image, 1<<18))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := filepath.Clean(h.Name)
	mode := h.FileInfo().Mode()
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = root.Mkdir(name, 0o700)
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, h.Uid, h.Gid)
	case tar.TypeFifo:
		var parent *os.File
		if parent, err = root.Open(filepath.Dir(name)); err == nil {
			err = unix.Mkfifoat(int(parent.Fd()), filepath.Base(name), 0o600)
			parent.Close()
		}
	case tar.TypeReg:
		var f *os.File
		if f, err = root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
			_, err = io.Copy(f, content)
			err = errors.Join(err, f.Close())
		}
	default:
		return fmt.Errorf("entries of type %q are not expected", h.Typeflag)
	}
	if err != nil {
		return err
	}
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := root.Chmod(name, mode&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}
