//go:build hosts

package hosts

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// lean copies from a tar of a root file system a program, the libraries that it needs, and /tmp: emulated hosts take a second
// for each few megabytes of an image.
func lean(source, program, target string) error {
	files, err := readTar(source)
	if err != nil {
		return fmt.Errorf("reading %s: %w", source, err)
	}
	byName := map[string]string{} // a library's base name -> its path
	for name := range files {
		byName[path.Base(name)] = name
	}
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
	written := map[string]bool{}
	for todo := []string{program}; len(todo) > 0 && err == nil; {
		name := todo[0]
		todo = todo[1:]
		if written[name] {
			continue
		}
		written[name] = true
		var needs []string
		if needs, err = files.write(w, name); err == nil {
			for _, need := range needs {
				if !strings.Contains(need, "/") {
					need = byName[need]
				}
				todo = append(todo, need)
			}
		}
	}
	return errors.Join(err, w.Close(), out.Close())
}

// entries are the files and links of a tar, by their paths without a leading slash.
type entries map[string]entry

type entry struct {
	header  *tar.Header
	content []byte
}

func readTar(file string) (entries, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := entries{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeSymlink {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(path.Clean(header.Name), "/")] = entry{header, content}
	}
}

// write copies one entry and says what it needs: the target of a link, the libraries and the loader of a program.
func (all entries) write(w *tar.Writer, name string) (needs []string, err error) {
	e, ok := all[name]
	if !ok { // by way of a directory that is a link, such as /lib
		if e, ok = all["usr/"+name]; !ok {
			return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
		}
	}
	header := *e.header
	header.Name = name
	if err := w.WriteHeader(&header); err != nil {
		return nil, err
	}
	if header.Typeflag == tar.TypeSymlink {
		target := header.Linkname
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(name), target)
		}
		return []string{strings.TrimPrefix(target, "/")}, nil
	}
	if _, err := w.Write(e.content); err != nil {
		return nil, err
	}
	return libraries(e.content)
}

func libraries(program []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	needs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			loader, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			needs = append(needs, strings.Trim(string(loader), "/\x00"))
		}
	}
	return needs, nil
}
