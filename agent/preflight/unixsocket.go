package preflight

import (
	"cmp"
	"slices"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// checkUnix looks at a unix socket: its peer has to be one of its own container (criu/sk-unix.c, dump_one_unix_fd).
func (l *look) checkUnix(p *process, s socket, known sockets) {
	switch {
	case s.peer != 0:
		l.checkPeer(p, s, known)
	case s.state == tcpEstablished && s.kind != unix.SOCK_DGRAM:
		l.checkWaiting(p, s, known)
	case s.state == tcpListen && slices.Contains(s.pending, 0):
		l.suspect(p, "let the program accept its connections", "a client of its unix socket %s has gone before it was accepted", s.name)
	}
}

const cureUnix = "let them talk over TCP, or close the connection"

func (l *look) checkPeer(p *process, s socket, known sockets) {
	holders := l.objects[object{"socket", uint64(s.peer)}]
	if slices.ContainsFunc(holders, func(q *process) bool { return q.container == p.container }) {
		return
	}
	peer, here := known.byInode[uint64(s.peer)]
	name := cmp.Or(peer.name, s.name)
	if len(holders) > 0 {
		q := holders[0]
		l.suspect(p, cureUnix, "it has a unix socket%s that is connected with %s (pid %d) of container %s, which is dumped by itself",
			named(name), q.name, q.inside, q.container.Name)
		return
	}
	if !here {
		name = cmp.Or(l.outsideName(s.peer), name)
	}
	l.suspect(p, cureUnix, "it has a unix socket%s that is connected with a process outside of the pod", named(name))
}

// checkWaiting looks at a connection that nobody has accepted, or whose peer is gone.
func (l *look) checkWaiting(p *process, s socket, known sockets) {
	const both = 3 // RCV_SHUTDOWN and SEND_SHUTDOWN
	if s.shut == both {
		return
	}
	for ino, listener := range known.byInode {
		if slices.Contains(listener.pending, s.ino) {
			holders := l.objects[object{"socket", ino}]
			if !slices.ContainsFunc(holders, func(q *process) bool { return q.container == p.container }) {
				l.suspect(p, cureUnix, "it waits to be accepted at the unix socket %s outside of its container", listener.name)
			}
			return
		}
	}
	l.suspect(p, "let it close the socket", "it has a unix connection whose other end is gone")
}

// outsideName finds the name of a socket among those of the network namespace that this process is in.
func (l *look) outsideName(ino uint32) string {
	ns, err := netns.Get()
	if err != nil {
		return ""
	}
	defer ns.Close()
	all, err := askSockets(ns)
	if err != nil {
		return ""
	}
	return all.byInode[uint64(ino)].name
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}
