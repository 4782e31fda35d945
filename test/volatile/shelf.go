//go:build root

package volatile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
)

// shelf is a FUSE file system in which each file is a disk.
type shelf struct {
	root *fs.Inode
	dir  string
	n    int
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{root: &fs.Inode{}, dir: t.TempDir()}
	server, err := fs.Mount(s.dir, s.root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "volatile", Name: "volatile"}})
	require.NoError(t, err, "FUSE is needed: modprobe fuse")
	t.Cleanup(func() { require.NoError(t, server.Unmount()) })
	return s
}

// put returns a file that is that disk. The caller closes it.
func (s *shelf) put(t *testing.T, d *Disk) *os.File {
	t.Helper()
	s.n++
	name := fmt.Sprint(s.n)
	require.True(t, s.root.AddChild(name, s.root.NewPersistentInode(t.Context(), &diskFile{disk: d}, fs.StableAttr{Mode: fuse.S_IFREG}), false))
	t.Cleanup(func() { s.root.RmChild(name) })
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDWR, 0)
	require.NoError(t, err)
	return f
}

// diskFile is a disk as a file. No cache is above it, so that each write of the loop device comes here.
type diskFile struct {
	fs.Inode
	disk *Disk
}

var (
	_ fs.NodeOpener    = (*diskFile)(nil)
	_ fs.NodeGetattrer = (*diskFile)(nil)
	_ fs.NodeReader    = (*diskFile)(nil)
	_ fs.NodeWriter    = (*diskFile)(nil)
	_ fs.NodeFsyncer   = (*diskFile)(nil)
	_ fs.NodeFlusher   = (*diskFile)(nil)
)

func (f *diskFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, fs.OK
}

func (f *diskFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = fuse.S_IFREG|0o600, uint64(f.disk.size)
	return fs.OK
}

func (f *diskFile) Read(_ context.Context, _ fs.FileHandle, into []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	into = into[:max(0, min(int64(len(into)), f.disk.size-at))]
	f.disk.readAt(into, at)
	return fuse.ReadResultData(into), fs.OK
}

func (f *diskFile) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	if at+int64(len(data)) > f.disk.size {
		return 0, syscall.ENOSPC
	}
	f.disk.writeAt(data, at)
	return uint32(len(data)), fs.OK
}

func (f *diskFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.disk.flush()
	return fs.OK
}

// Flush is a close of the file, which promises nothing.
func (f *diskFile) Flush(context.Context, fs.FileHandle) syscall.Errno { return fs.OK }
