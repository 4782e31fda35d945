package structure

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/drover-mesh/drover"

// tree is a source tree: slash-separated paths of files below root, sorted.
type tree struct {
	root  string
	files []string
}

// repository is the tree of this repository: what git tracks, so that nothing half-written is judged.
func repository(t *testing.T) tree {
	t.Helper()
	top, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	require.NoError(t, err, "the guards look at what git tracks: run them in a clone")
	root := strings.TrimSpace(string(top))
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = root
	out, err := list.Output()
	require.NoError(t, err)
	tr := tree{root: root}
	for path := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if info, err := os.Stat(filepath.Join(root, path)); err == nil && info.Mode().IsRegular() {
			tr.files = append(tr.files, path)
		}
	}
	require.NotEmpty(t, tr.files)
	return tr
}

// plant writes a tree of the given files, for a guard to find fault with.
func plant(t *testing.T, files map[string]string) tree {
	t.Helper()
	tr := tree{root: t.TempDir()}
	for path, content := range files {
		full := filepath.Join(tr.root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte(content), 0o644))
		tr.files = append(tr.files, path)
	}
	slices.Sort(tr.files)
	return tr
}

func (tr tree) read(path string) []byte {
	content, err := os.ReadFile(filepath.Join(tr.root, path))
	if err != nil {
		return nil // deleted since it was listed
	}
	return content
}

// source is a parsed Go file.
type source struct {
	path, dir string
	test      bool // a _test.go file
	generated bool
	lines     int
	*ast.File
}

// sources parses the tree's Go files. One that doesn't parse is the compiler's to report, and left out.
func (tr tree) sources() []source {
	var all []source
	for _, path := range tr.files {
		if !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata/") {
			continue
		}
		content := tr.read(path)
		file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		all = append(all, source{
			path: path, dir: filepath.ToSlash(filepath.Dir(path)), test: strings.HasSuffix(path, "_test.go"),
			generated: ast.IsGenerated(file), lines: bytes.Count(content, []byte("\n")), File: file,
		})
	}
	return all
}
