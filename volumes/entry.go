package volumes

import "golang.org/x/sys/unix"

// An entry describes one file of a layer or an upper, without its content.
type entry struct {
	path   string // clean, relative; "." is the root
	mode   uint32 // type and permissions, as in struct stat
	hard   bool   // another name of link: nothing else below is meant
	link   string // target of a symbolic link, or path of the file that a hard link names
	uid    uint32
	gid    uint32
	rdev   uint64
	size   int64
	mtime  unix.Timespec
	xattrs []xattr
}

func (e *entry) kind() uint32 { return e.mode & unix.S_IFMT }
func (e *entry) isDir() bool  { return !e.hard && e.kind() == unix.S_IFDIR }
