package pod

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// writeNames writes a container's /etc/hosts, /etc/hostname and /etc/resolv.conf, as the kubelet does at each of its starts.
// They lie in its root file system and are no mounts: so they move with it without a dump, and it may replace them.
func (s Spec) writeNames(root string) error {
	dns, err := s.Manifest.resolver()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"hosts": s.hosts(), "hostname": s.Hostname + "\n", "resolv.conf": dns.String()} {
		if err := writeInRoot(root, "/etc", name, content); err != nil {
			return fmt.Errorf("writing /etc/%s: %w", name, err)
		}
	}
	return nil
}

// hosts is the content of hosts(5), in the form of the kubelet's: pkg/kubelet/kubelet_pods.go in kubernetes/kubernetes.
func (s Spec) hosts() string {
	var b strings.Builder
	b.WriteString("# Written by drover when the container starts.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	if s.Address.IsValid() {
		fmt.Fprintf(&b, "%s\t%s\n", s.Address, s.Hostname)
	}
	for _, alias := range s.Manifest.pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String()
}

// writeInRoot replaces a file in a directory of a root file system, and does nothing if it is there with that content. A
// link in its place is replaced too, and not followed: it leads to what a host has.
func writeInRoot(root, dir, name, content string) error {
	at, err := openInRoot(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) {
		// An image without the directory: only one that lies in the root itself is made.
		if err = makeInRoot(root, dir); err == nil {
			at, err = openInRoot(root, dir, unix.O_PATH|unix.O_DIRECTORY)
		}
	}
	if err != nil {
		return err
	}
	defer at.Close()
	fd := int(at.Fd())
	if now, err := readInRoot(root, path.Join(dir, name), maxAccounts); err == nil && string(now) == content {
		return nil
	}
	next := "." + name + ".drover"
	if err := unix.Unlinkat(fd, next, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	raw, err := unix.Openat(fd, next, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(raw), next)
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = unix.Renameat(fd, next, fd, name)
	}
	return err
}

func makeInRoot(root, dir string) error {
	at, err := openInRoot(root, path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer at.Close()
	return unix.Mkdirat(int(at.Fd()), path.Base(dir), 0o755)
}
