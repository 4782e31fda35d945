package volumes

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits bound what one layer or one upper snapshot may bring. Zero fields mean the default.
type Limits struct {
	Entries int64 // files of all types; default 4,000,000
	Bytes   int64 // content when unpacked, holes included; default 256 GiB
	Ratio   int64 // bytes of a layer for each that it has packed, beyond a 64th of Bytes; default 200
}

func (l Limits) withDefaults() Limits {
	if l.Entries <= 0 {
		l.Entries = 4_000_000
	}
	if l.Bytes <= 0 {
		l.Bytes = 256 << 30
	}
	if l.Ratio <= 0 {
		l.Ratio = 200
	}
	return l
}

// spend takes one entry and its bytes from what is left.
func (l *Limits) spend(e *entry) error {
	if l.Entries--; l.Entries < 0 {
		return fmt.Errorf("entry %q: %w: too many entries", shorten(e.path), ErrTooLarge)
	}
	if e.size < 0 || e.size > l.Bytes {
		return fmt.Errorf("entry %q of %d bytes: %w: more content than is allowed", shorten(e.path), e.size, ErrTooLarge)
	}
	l.Bytes -= e.size
	return nil
}

// A tarKind says what a tar is.
type tarKind int

const (
	rootTar  tarKind = iota // a whole root file system, or an archive of images
	layerTar                // a layer, which may hide files of those below it
)

// unpack makes dir, which is empty, the tree that a tar describes.
func unpack(ctx context.Context, r io.Reader, dir string, limits Limits, kind tarKind) (layerNotes, error) {
	t, err := openTree(dir)
	if err != nil {
		return layerNotes{}, err
	}
	defer t.close()
	p := newPlacer(t, false)
	p.dirs["."] = &dirState{entry: *impliedDir("."), implied: true}
	var marks whiteouts
	if err := p.unpack(ctx, r, limits, kind, &marks); err != nil {
		return layerNotes{}, err
	}
	if err := marks.place(p); err != nil {
		return layerNotes{}, err
	}
	return layerNotes{Implied: p.implied(), Hiding: slices.Sorted(maps.Keys(marks.hiding))}, p.finish()
}

func (p *placer) unpack(ctx context.Context, r io.Reader, limits Limits, kind tarKind, marks *whiteouts) error {
	archive := tar.NewReader(r)
	for entries := 0; ; entries++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if entries == 0 && kind == rootTar {
				return fmt.Errorf("%w: it holds no file: is it the tar of a root file system?", ErrCorrupt)
			}
			return nil
		}
		if errors.Is(err, tar.ErrHeader) && entries == 0 {
			return fmt.Errorf("%w: it is no tar, nor one packed with gzip or zstd", ErrCorrupt)
		}
		if err != nil {
			return fmt.Errorf("reading tar: %w", corrupt(err))
		}
		e, err := tarEntry(header)
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		if err := limits.spend(e); err != nil {
			return err
		}
		marked, err := marks.take(e, kind)
		if err != nil {
			return err
		}
		if marked {
			continue
		}
		if err := p.place(e, func(f *os.File) error { return copySparse(f, archive, e.size) }); err != nil {
			return err
		}
	}
}

// tarEntry translates a header; nil means that it describes no file.
func tarEntry(h *tar.Header) (*entry, error) {
	name, err := cleanName(h.Name)
	if err != nil {
		return nil, err
	}
	e := &entry{
		path: name, mode: uint32(h.Mode & 0o7777), uid: uint32(h.Uid), gid: uint32(h.Gid),
		mtime: unix.NsecToTimespec(0),
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return nil, &RefusedError{Entry: name, Reason: fmt.Sprintf("has an impossible owner %d:%d", h.Uid, h.Gid)}
	}
	e.mtime = unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil, nil
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse: //nolint:staticcheck // old tars have TypeRegA
		e.mode |= unix.S_IFREG
		e.size = h.Size
	case tar.TypeDir:
		e.mode |= unix.S_IFDIR
	case tar.TypeSymlink:
		e.mode |= unix.S_IFLNK
		if e.link = h.Linkname; e.link == "" || len(e.link) > maxPath || strings.IndexByte(e.link, 0) >= 0 {
			return nil, &RefusedError{Entry: name, Reason: "is a symbolic link with an impossible target"}
		}
	case tar.TypeLink:
		e.hard = true
		if e.link, err = cleanName(h.Linkname); err != nil {
			return nil, &RefusedError{Entry: name, Reason: fmt.Sprintf("is a hard link to %q, which lies outside its root", shorten(h.Linkname)), cause: err}
		}
	case tar.TypeChar:
		e.mode |= unix.S_IFCHR
		e.rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		if e.rdev == 0 {
			return nil, &RefusedError{Entry: name, Reason: "is the character device 0:0, by which overlayfs hides files"}
		}
	case tar.TypeBlock:
		e.mode |= unix.S_IFBLK
		e.rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeFifo:
		e.mode |= unix.S_IFIFO
	default:
		return nil, &RefusedError{Entry: name, Reason: fmt.Sprintf("has a type (%q) that no file system has", h.Typeflag)}
	}
	return e, tarXattrs(e, h)
}

func tarXattrs(e *entry, h *tar.Header) error {
	const prefix = "SCHILY.xattr."                         // as written by GNU tar, bsdtar and container engines
	escaped := strings.NewReplacer("%3D", "=", "%25", "%") // GNU tar, src/xheader.c: xattr_encode_keyword
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, prefix)
		name = escaped.Replace(name)
		if !ok || hostBound(name) || e.hard {
			continue
		}
		e.xattrs = append(e.xattrs, xattr{name, []byte(value)})
	}
	slices.SortFunc(e.xattrs, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return nil
}

// copySparse writes size bytes to a new file, and leaves holes where they are zero.
func copySparse(f *os.File, r io.Reader, size int64) error {
	buf := make([]byte, min(size, 64<<10))
	for at := int64(0); at < size; {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return fmt.Errorf("reading its content: %w", corrupt(err))
		}
		if !allZero(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return f.Truncate(size)
}

var zeros [4096]byte

func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
