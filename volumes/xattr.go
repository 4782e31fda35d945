package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	overlayPrefix = "trusted.overlay."
	opaqueXattr   = overlayPrefix + "opaque" // on a directory: hides the one of the same name below
)

type xattr struct {
	name  string
	value []byte
}

// hostBound says if an attribute means something on the host that set it only: labels of its security policy and
// signatures over its inode numbers. They are neither read nor written.
func hostBound(name string) bool {
	switch name {
	case "security.selinux", "security.SMACK64", "security.apparmor", "security.evm", "security.ima":
		return true
	}
	return false
}

// overlayInternal says if an attribute is overlayfs's own and bound to one mount: origin, nlink, uuid, impure...
func overlayInternal(name string) bool {
	return strings.HasPrefix(name, overlayPrefix) && name != opaqueXattr
}

// readXattrs returns the attributes of the file that path names (a symbolic link is not followed) which may go
// to another host, sorted by name.
func readXattrs(path string) ([]xattr, error) {
	names, err := listXattrs(path)
	if err != nil {
		return nil, err
	}
	var attrs []xattr
	for _, name := range names {
		switch {
		case name == overlayPrefix+"redirect", name == overlayPrefix+"metacopy":
			// Our mounts never make them; without them the file would be another one.
			return nil, fmt.Errorf("%s: its content is in a lower layer under another name; it can't be moved", name)
		case hostBound(name), overlayInternal(name):
			continue
		}
		value, err := readXattr(path, name)
		if errors.Is(err, unix.ENODATA) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, fmt.Errorf("reading attribute %s: %w", name, err)
		}
		attrs = append(attrs, xattr{name, value})
	}
	slices.SortFunc(attrs, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return attrs, nil
}

func listXattrs(path string) ([]string, error) {
	buf := make([]byte, 256)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 65536) // XATTR_LIST_MAX of linux/limits.h
		n, err = unix.Llistxattr(path, buf)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing attributes: %w", err)
	}
	var names []string
	for name := range bytes.SplitSeq(buf[:n], []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names, nil
}

func readXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 65536) // XATTR_SIZE_MAX of linux/limits.h
		n, err = unix.Lgetxattr(path, name, buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n:n], nil
}

// writeXattrs sets attributes on the file that path names, and takes away those that an earlier round left.
func writeXattrs(path string, attrs []xattr, existed bool) error {
	if existed {
		old, err := listXattrs(path)
		if err != nil {
			return err
		}
		for _, name := range old {
			wanted := slices.ContainsFunc(attrs, func(x xattr) bool { return x.name == name })
			if wanted || hostBound(name) || overlayInternal(name) {
				continue
			}
			if err := unix.Lremovexattr(path, name); err != nil && !errors.Is(err, unix.ENODATA) {
				return fmt.Errorf("removing attribute %s: %w", name, err)
			}
		}
	}
	for _, x := range attrs {
		if err := unix.Lsetxattr(path, x.name, x.value, 0); err != nil {
			return fmt.Errorf("setting attribute %s: %w", x.name, err)
		}
	}
	return nil
}

// checkXattr refuses attributes that a layer must not bring along.
func checkXattr(e *entry, x xattr, fromUpper bool) error {
	switch {
	case !strings.HasPrefix(x.name, overlayPrefix):
		return nil
	case fromUpper && x.name == opaqueXattr && e.isDir() && string(x.value) == "y":
		return nil
	}
	return &RefusedError{Entry: e.path, Reason: "sets " + x.name + ", an attribute by which overlayfs finds its files"}
}
