package durable

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path+Draft, []byte("of a crash"), 0o644))
	for _, content := range []string{"one", "another, and longer", ""} {
		require.NoError(t, WriteFile(path, []byte(content), 0o600))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(data))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		require.NoFileExists(t, path+Draft)
	}
}

func TestWriteFileThatFailsLeavesTheOldOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	require.Error(t, WriteFile(filepath.Join(dir, "file"), nil, 0o600), "no directory")
	// A directory that isn't empty can't be replaced by a file.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "file", "in it"), 0o700))
	require.Error(t, WriteFile(filepath.Join(dir, "file"), []byte("new"), 0o600))
	require.DirExists(t, filepath.Join(dir, "file", "in it"))
	require.NoFileExists(t, filepath.Join(dir, "file"+Draft))
}

func TestCreateReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, Create(path, []byte("one"), 0o600))
	require.ErrorIs(t, Create(path, []byte("two"), 0o600), os.ErrExist)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "one", string(data))
}

func TestRenameAndMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	require.NoError(t, MkdirAll(deep, 0o700))
	require.NoError(t, MkdirAll(deep, 0o700), "twice")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.Error(t, MkdirAll(filepath.Join(dir, "file", "x"), 0o700))
	require.NoError(t, Rename(filepath.Join(dir, "file"), filepath.Join(deep, "file")))
	require.FileExists(t, filepath.Join(deep, "file"))
	require.ErrorIs(t, Rename(filepath.Join(dir, "file"), filepath.Join(deep, "file")), os.ErrNotExist)
}
