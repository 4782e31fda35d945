package preflight

import (
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// protocols are those that CRIU dumps (criu/sockets.c, dump_socket; criu/sk-inet.c, can_dump_ipproto), by the kernel's names
// for them, which are the value of a socket's attribute system.sockprotoname.
func protocols() []string {
	return []string{
		"TCP", "TCPv6", "UDP", "UDPv6", "UDP-Lite", "UDPLITEv6", "RAW", "RAWv6", "PING", "PINGv6",
		"UNIX", "UNIX-STREAM", "NETLINK", "PACKET",
	}
}

// end is a socket as one of the processes that have it knows it.
type end struct {
	process    *process
	descriptor descriptor
}

// checkSockets looks at all sockets of the pod.
func (l *look) checkSockets(ns netns.NsHandle) error {
	known, err := askSockets(ns)
	if err != nil {
		return err
	}
	for ino, e := range l.ends {
		s, ok := known.byInode[ino]
		if protocol := e.protocol(); !l.checkProtocol(e.process, protocol, ok) || !ok {
			continue
		}
		switch s.family {
		case unix.AF_UNIX:
			l.checkUnix(e.process, s, known)
		case unix.AF_NETLINK:
			l.checkNetlink(e.process, s)
		default:
			l.checkTCP(e.process, s, known)
		}
	}
	return nil
}

// protocol is the kernel's name for what a socket speaks, "" if it has been closed.
func (e end) protocol() string {
	path := e.process.link(e.descriptor.fd)
	name := make([]byte, 64)
	n, err := unix.Getxattr(path, "system.sockprotoname", name)
	if link, linkErr := os.Readlink(path); err != nil || linkErr != nil || link != e.descriptor.link {
		return ""
	}
	return strings.TrimRight(string(name[:n]), "\x00")
}

// checkProtocol tells whether there is more to look at. A unix socket that isn't listed in the pod's network namespace is of
// another one.
func (l *look) checkProtocol(p *process, protocol string, listed bool) bool {
	switch {
	case protocol == "":
		return false
	case strings.HasPrefix(protocol, "MPTCP"):
		l.refuse(p, "restart it with MPTCP off: in a pod, sysctl net.mptcp.enabled is 0 unless somebody has changed it (Go programs: GODEBUG=multipathtcp=0)",
			"it has an MPTCP socket")
	case strings.HasPrefix(protocol, "UNIX") && !listed:
		l.suspect(p, "let it close the socket", "it has a unix socket of another network namespace")
	case !slices.Contains(protocols(), protocol):
		l.refuse(p, "use TCP, UDP or unix sockets", "it has a socket of the kind %s", strings.TrimPrefix(protocol, "AF_"))
	default:
		return true
	}
	return false
}

// checkTCP looks at an IP socket (criu/sk-inet.c, can_dump_inet_sk).
func (l *look) checkTCP(p *process, s socket, known sockets) {
	switch {
	case s.ulp == "tls": // libsoccr doesn't know of it: the restored connection would go on in the clear
		l.refuse(p, "switch kernel TLS off in the program (nginx: ssl_conf_command Options -KTLS)", "it has left the encryption of a connection to the kernel (kTLS)")
	case s.ulp != "":
		l.refuse(p, "switch "+s.ulp+" off in the program", "it has a TCP connection with %s upon it", s.ulp)
	case s.md5:
		l.refuse(p, "close the connection, or run the program outside of a pod", "it has a TCP connection with MD5 signatures")
	case s.state == tcpSynReceived:
		l.suspect(p, "switch TCP Fast Open off", "it has a connection that is only half open")
	case s.state == tcpListen && s.waiting > 0:
		// A busy server always has some; but are they the same each time?
		for _, waiting := range known.waiting[s.port] {
			l.suspectOf(p, waiting.ends, "let the program accept them", "connections wait at a listener of it (port %d), and nobody accepts them", s.port)
		}
	}
}

// checkNetlink looks at a socket to the kernel (criu/sk-netlink.c, dump_one_netlink_fd).
func (l *look) checkNetlink(p *process, s socket) {
	switch {
	case s.groups > 1:
		l.refuse(p, "restart the container; let the program listen to fewer kinds of events", "it listens to netlink groups above 32")
	case s.groups > 0 && s.address == 0:
		l.refuse(p, "restart the container", "it has a netlink socket with groups and no address")
	case s.routes:
		// A move shuts the pod's way out by a route: the event waits at the socket when CRIU looks at it.
		l.refuse(p, "configure it not to watch the network, if it can: a pod's never changes", "it listens to changes of routes, and a move makes one")
	case s.waiting > 0:
		l.suspect(p, "let the program read its events", "events wait at a netlink socket of it, and nobody reads them")
	}
}
