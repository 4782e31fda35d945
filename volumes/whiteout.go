package volumes

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The marks by which a layer hides what layers below it have (image-spec, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."         // before the name of what is hidden
	opaqueMark     = ".wh..wh..opq" // in a directory of which all is hidden
	aufsPrefix     = ".wh..wh."     // before what AUFS, where the marks come from, kept for itself
)

// whiteouts collects the marks of a layer. They concern the layers below, never the layer itself, wherever in the tar
// they are; so they are placed when all else is.
type whiteouts struct {
	hidden []string        // paths
	opaque []string        // directories
	hiding map[string]bool // directories in which whiteouts were made
}

// take says whether an entry is a mark, and remembers it.
func (w *whiteouts) take(e *entry, kind tarKind) (bool, error) {
	refuse := func(reason string) (bool, error) { return false, &RefusedError{Entry: e.path, Reason: reason} }
	dir, base := path.Dir(e.path), path.Base(e.path)
	if strings.HasPrefix(dir, whiteoutPrefix) || strings.Contains(dir, "/"+whiteoutPrefix) {
		return refuse("lies in a directory with the name of an OCI whiteout")
	}
	if !strings.HasPrefix(base, whiteoutPrefix) {
		return false, nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	switch {
	case kind == rootTar: // as a plain file the mark would silently be content
		return refuse("is an OCI whiteout: give the root file system as one flat tar, or the image as an OCI layout")
	case e.hard || e.kind() != unix.S_IFREG || e.size != 0:
		return refuse("has the name of an OCI whiteout and is no empty file")
	case base == opaqueMark:
		w.opaque = append(w.opaque, dir)
	case strings.HasPrefix(base, aufsPrefix):
		return refuse("is one of AUFS's own files")
	case name == "" || name == "." || name == "..":
		return refuse("is an OCI whiteout of no possible name")
	default:
		w.hidden = append(w.hidden, path.Join(dir, name))
	}
	return true, nil
}

// place writes the marks as overlayfs reads them (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
// directories").
func (w *whiteouts) place(p *placer) error {
	for _, dir := range w.opaque {
		if err := p.makeOpaque(dir); err != nil {
			return err
		}
	}
	slices.Sort(w.hidden)
	w.hiding = map[string]bool{}
	gone := set(w.opaque)
	if gone["."] {
		return nil
	}
	for _, name := range slices.Compact(w.hidden) {
		if beneathAny(gone, name) {
			continue // with what it is in
		}
		made, err := p.hide(name)
		if err != nil {
			return err
		}
		gone[name] = true // by a whiteout, or by what the layer has in its place
		if made {
			w.hiding[path.Dir(name)] = true
		}
	}
	return nil
}

// beneathAny says that a path lies below one of a set.
func beneathAny(set map[string]bool, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if set[dir] {
			return true
		}
	}
	return false
}

// hide makes a whiteout, and says if it did: what the layer itself has there hides as well.
func (p *placer) hide(name string) (bool, error) {
	parent, base, err := p.parentOf(name)
	if err != nil {
		return false, err
	}
	err = unix.Mknodat(parent, base, unix.S_IFCHR, 0)
	if err == nil {
		return true, nil
	}
	var st unix.Stat_t
	if errors.Is(err, unix.EEXIST) {
		err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return false, fmt.Errorf("making a whiteout of %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, nil
	}
	return false, p.makeOpaque(name) // or what is below would show in it
}

// makeOpaque gives a directory of the layer overlayfs's mark, and makes it if there is none.
func (p *placer) makeOpaque(dir string) error {
	mark := xattr{opaqueXattr, []byte("y")}
	if _, err := p.directory(dir); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		if _, _, err := p.parentOf(path.Join(dir, "x")); err != nil {
			return err
		}
	}
	d := p.dirs[dir]
	if !slices.ContainsFunc(d.xattrs, func(x xattr) bool { return x.name == mark.name }) {
		d.xattrs = append(d.xattrs, mark)
	}
	return nil
}
