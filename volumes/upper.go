package volumes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

// layerNotes is what overlayfs would get wrong of a layer, kept beside it.
//
// A layer may hold files of a directory and not the directory: then the owner, the mode and the times of the one below
// stay. overlayfs shows those of the topmost directory of a name. And it heeds whiteouts only in directories that
// several layers have; in others it lists them as files that can't be opened. Where that would show, an upper gets the
// directory, with what it should be.
type layerNotes struct {
	Implied []string `json:"implied,omitempty"` // directories that the tar doesn't describe
	Hiding  []string `json:"hiding,omitempty"`  // directories that hold whiteouts
}

func (n layerNotes) write(path string) error {
	if len(n.Implied)+len(n.Hiding) == 0 {
		return nil
	}
	content, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func (s *Store) readNotes(layer state.Digest) (n layerNotes, err error) {
	content, err := os.ReadFile(s.notesPath(layer))
	if errors.Is(err, fs.ErrNotExist) {
		return layerNotes{}, nil
	}
	if err != nil {
		return layerNotes{}, err
	}
	if err := json.Unmarshal(content, &n); err != nil {
		return layerNotes{}, fmt.Errorf("notes on layer %s: %w: %w", layer.Short(), ErrCorrupt, err)
	}
	return n, nil
}

// stack is the layers that an overlay shows, as overlayfs wants them: the topmost first and none twice. A layer that
// comes again hides all that it brought before; one that is opaque at its root, which overlayfs doesn't heed there,
// hides all below it.
func (s *Store) stack(lowers []state.Digest) []state.Digest {
	var stack []state.Digest
	for _, lower := range slices.Backward(lowers) {
		if !slices.Contains(stack, lower) {
			stack = append(stack, lower)
		}
		if isOpaque(s.layerPath(lower)) {
			break
		}
	}
	return stack
}

func isOpaque(dir string) bool {
	value, err := readXattr(dir, opaqueXattr)
	return err == nil && string(value) == "y"
}

// makeUpper makes an upper, in which the root and the directories that layers only imply are as in the layers below.
func (s *Store) makeUpper(upper string, lowers []state.Digest) error {
	if _, err := os.Lstat(upper); err == nil {
		return nil // it was made by a rename, and so is whole
	}
	made := upper + ".new"
	if err := removeTree(made); err != nil {
		return err
	}
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	tree, err := openTree(made)
	if err != nil {
		return err
	}
	defer tree.close()
	p := newPlacer(tree, true)
	dirs, err := s.showing(lowers)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := p.place(dir, nil); err != nil {
			return err
		}
	}
	if err := p.finish(); err != nil {
		return err
	}
	return os.Rename(made, upper)
}

// showing describes the directories that an upper over these layers must have, those first that hold others.
func (s *Store) showing(lowers []state.Digest) ([]*entry, error) {
	var layers layerStack
	for _, layer := range s.stack(lowers) {
		notes, err := s.readNotes(layer)
		if err != nil {
			return nil, err
		}
		layers = append(layers, notedLayer{path: s.layerPath(layer), implied: set(notes.Implied), hiding: set(notes.Hiding)})
	}
	names := map[string]bool{".": true}
	for _, layer := range layers {
		noted := maps.Clone(layer.implied)
		maps.Copy(noted, layer.hiding)
		for dir := range noted {
			d, err := layers.directory(dir)
			if err != nil {
				return nil, err
			}
			for ; d.isWrong() && dir != "."; dir = path.Dir(dir) { // with those that it is in
				names[dir] = true
			}
		}
	}
	var dirs []*entry
	for name := range names {
		d, err := layers.directory(name)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, d.entry)
	}
	slices.SortFunc(dirs, func(a, b *entry) int { return strings.Compare(a.path, b.path) })
	return dirs, nil
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

// layerStack is the layers of an overlay, the topmost first.
type layerStack []notedLayer

type notedLayer struct {
	path            string
	implied, hiding map[string]bool
}

// shownDir is a directory as layers have it.
type shownDir struct {
	entry   *entry // what it should be: as the topmost layer that describes it does; nil if they show none of that name
	layers  int    // that have it, and show
	implied bool   // the topmost of them doesn't describe it, and another does
	hiding  bool   // one of them hides something in it
}

// isWrong says that overlayfs would show it wrong.
func (d shownDir) isWrong() bool { return d.implied || d.hiding && d.layers == 1 }

func (l layerStack) directory(name string) (d shownDir, err error) {
	described := false
	for _, layer := range l {
		found, last, err := layer.find(name)
		if err != nil {
			return shownDir{}, err
		}
		if found != nil {
			if d.layers++; d.entry == nil || !described && !layer.implied[name] {
				d.implied = d.entry != nil
				d.entry = found
			}
			described = described || !layer.implied[name]
			d.hiding = d.hiding || layer.hiding[name]
		}
		if last {
			break
		}
	}
	return d, nil
}

// find describes a directory of the layer, nil if it has none of that name, and says whether the layer hides those of
// that name below it.
func (l notedLayer) find(name string) (e *entry, last bool, err error) {
	elements := strings.Split(name, "/")
	for i := range elements {
		here := filepath.Join(l.path, filepath.Join(elements[:i+1]...))
		var st unix.Stat_t
		if err := unix.Lstat(here, &st); errors.Is(err, unix.ENOENT) {
			return nil, last, nil
		} else if err != nil {
			return nil, false, fmt.Errorf("looking at %s: %w", here, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil, true, nil
		}
		last = last || isOpaque(here)
		if i < len(elements)-1 {
			continue
		}
		e = &entry{path: name, mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: st.Mtim}
		if e.xattrs, err = readXattrs(here); err != nil {
			return nil, false, err
		}
		e.xattrs = slices.DeleteFunc(e.xattrs, func(x xattr) bool { return x.name == opaqueXattr })
	}
	return e, last, nil
}
