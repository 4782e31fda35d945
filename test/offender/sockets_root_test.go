//go:build root

package offender

import (
	"errors"

	"golang.org/x/sys/unix"
)

func socket(family, kind int) error {
	_, err := unix.Socket(family, kind, 0)
	return err
}

func listen(protocol int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol)
	if err != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: 7000}), unix.Listen(fd, 8))
}

func md5Listener() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var signature [216]byte // struct tcp_md5sig: the peer's address, then flags, the key's length, the key
	signature[0], signature[4], signature[7] = unix.AF_INET, 10, 1
	signature[130], signature[136] = 3, 'k'
	err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, string(signature[:]))
	return errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: 7000}), unix.Listen(fd, 8))
}

func acceptQueue() error {
	if err := listen(0); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	return errors.Join(err, unix.Connect(fd, &unix.SockaddrInet4{Port: 7000, Addr: [4]byte{127, 0, 0, 1}}))
}

func netlinkGroups() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	const nsid, stats = 28, 36 // RTNLGRP_STATS
	return errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, nsid),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, stats))
}

// netlinkEvents asks and doesn't read the answer.
func netlinkEvents() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	request := make([]byte, 32) // struct nlmsghdr, struct ifinfomsg
	request[0], request[4], request[6], request[7] = 32, unix.RTM_GETLINK, unix.NLM_F_REQUEST, unix.NLM_F_DUMP>>8
	return unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func listenUnix(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, 8)); err != nil {
		return err
	}
	go func() { _, _, _ = unix.Accept(fd) }()
	return nil
}

func client(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

// receive takes a descriptor from somebody, and keeps it.
func receive(from string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: from}); err != nil {
		return err
	}
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), control, 0)
	if err == nil && n == 0 {
		err = errors.New("no descriptor came")
	}
	return err
}

// give hands a descriptor to the first who connects to the listener.
func give(listener, fd int) error {
	conn, _, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	return errors.Join(unix.Sendmsg(conn, []byte{0}, unix.UnixRights(fd), nil, 0), unix.Close(conn), unix.Close(listener))
}

func memoryGiver() error {
	memory, err := unix.MemfdCreate("shared", 0)
	if err := errors.Join(err, unix.Ftruncate(memory, 4096)); err != nil {
		return err
	}
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err := errors.Join(err, unix.Bind(listener, &unix.SockaddrUnix{Name: "\x00memory"}), unix.Listen(listener, 1)); err != nil {
		return err
	}
	go func() { _ = give(listener, memory) }()
	return nil
}
