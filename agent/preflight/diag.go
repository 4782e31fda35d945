package preflight

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The kernel's socket diagnostics (sock_diag(7)): linux/inet_diag.h, unix_diag.h, netlink_diag.h, packet_diag.h.
const (
	diagRequest = 20 // SOCK_DIAG_BY_FAMILY

	inetInfo    = 1 << (2 - 1) // INET_DIAG_INFO, without which nothing is said of signatures and TLS
	inetULP     = 19           // INET_DIAG_ULP_INFO
	inetULPName = 1            // INET_ULP_INFO_NAME
	inetMD5     = 18           // INET_DIAG_MD5SIG

	unixShow    = 0x1 | 0x4 | 0x8 | 0x10 // UDIAG_SHOW_NAME, PEER, ICONS, RQLEN
	unixName    = 0
	unixPeer    = 2
	unixPending = 3 // UNIX_DIAG_ICONS: clients that wait to be accepted
	unixShut    = 6

	netlinkAll    = 0xff      // NDIAG_PROTO_ALL
	netlinkShow   = 0x1 | 0x2 // NDIAG_SHOW_MEMINFO, GROUPS
	netlinkMemory = 0
	netlinkGroups = 1

	attributeKind = 0x3fff // NLA_TYPE_MASK in linux/netlink.h
)

// States of connections (include/net/tcp_states.h); unix sockets use them too.
const (
	tcpEstablished = 1
	tcpSynReceived = 3
	tcpListen      = 10
)

// socket is what the kernel says of a socket.
type socket struct {
	family, state, kind uint8
	ino                 uint32
	waiting             uint32 // connections that nobody has accepted, of a listener; bytes unread, of a netlink socket

	ulp  string // what was put upon TCP, "tls"
	md5  bool   // TCP with signatures
	port uint16 // its own, as in the packets
	ends string // ports and addresses of both, to tell connections apart

	name    string // of a unix socket
	peer    uint32
	pending []uint32
	shut    uint8

	groups  int  // words of 32 netlink groups
	routes  bool // it listens to changes of routes
	address uint32
}

// sockets are those of a network namespace that CRIU knows to handle.
type sockets struct {
	byInode map[uint64]socket
	waiting map[uint16][]socket // TCP connections that nobody has accepted, by the port of their listener
}

func (s sockets) add(x socket) {
	const closeWait = 8
	switch {
	case x.ino != 0:
		s.byInode[uint64(x.ino)] = x
	case x.port != 0 && (x.state == tcpEstablished || x.state == closeWait):
		s.waiting[x.port] = append(s.waiting[x.port], x)
	}
}

// askSockets asks the kernel for all sockets of a network namespace.
func askSockets(ns netns.NsHandle) (sockets, error) {
	all := sockets{map[uint64]socket{}, map[uint16][]socket{}}
	conn, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return all, fmt.Errorf("asking for the pod's sockets: %w", err)
	}
	defer conn.Close()
	const everyState = 0xffffffff
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			request := make([]byte, 56) // struct inet_diag_req_v2
			request[0], request[1], request[2] = family, protocol, inetInfo
			nl.NativeEndian().PutUint32(request[4:], everyState)
			if err := ask(conn, request, parseInet, all.add); err != nil {
				return all, err
			}
		}
	}
	request := make([]byte, 24) // struct unix_diag_req
	request[0] = unix.AF_UNIX
	nl.NativeEndian().PutUint32(request[4:], everyState)
	nl.NativeEndian().PutUint32(request[12:], unixShow)
	if err := ask(conn, request, parseUnix, all.add); err != nil {
		return all, err
	}
	request = make([]byte, 20) // struct netlink_diag_req
	request[0], request[1] = unix.AF_NETLINK, netlinkAll
	nl.NativeEndian().PutUint32(request[8:], netlinkShow)
	return all, ask(conn, request, parseNetlink, all.add)
}

// ask makes one request. A kernel without the module for it knows no such sockets.
func ask(conn *nl.NetlinkSocket, request []byte, parse func([]byte) (socket, error), add func(socket)) error {
	req := nl.NewNetlinkRequest(diagRequest, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: conn}}
	req.AddRawData(request)
	var bad error
	err := req.ExecuteIter(unix.NETLINK_INET_DIAG, 0, func(msg []byte) bool {
		var s socket
		if s, bad = parse(msg); bad == nil {
			add(s)
		}
		return bad == nil
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, nl.ErrDumpInterrupted) {
		err = nil
	}
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("asking for the pod's sockets of family %d: %w", request[0], err)
	}
	return nil
}

var errShort = errors.New("the kernel's answer is too short")

func parseInet(msg []byte) (socket, error) {
	const header = 72 // struct inet_diag_msg
	if len(msg) < header {
		return socket{}, errShort
	}
	order := nl.NativeEndian()
	s := socket{
		family: msg[0], state: msg[1], waiting: order.Uint32(msg[56:]), ino: order.Uint32(msg[68:]),
		port: binary.BigEndian.Uint16(msg[4:]), ends: string(msg[4:40]),
	}
	attributes, err := nl.ParseRouteAttr(msg[header:])
	if err != nil {
		return s, err
	}
	for _, a := range attributes {
		switch a.Attr.Type & attributeKind {
		case inetMD5:
			s.md5 = len(a.Value) > 0
		case inetULP:
			s.ulp = nested(a, inetULPName)
		}
	}
	return s, nil
}

// nested reads a text within an attribute.
func nested(a syscall.NetlinkRouteAttr, kind uint16) string {
	inner, err := nl.ParseRouteAttr(a.Value)
	if err != nil {
		return ""
	}
	for _, i := range inner {
		if i.Attr.Type&attributeKind == kind {
			return unix.ByteSliceToString(i.Value)
		}
	}
	return ""
}

func parseUnix(msg []byte) (socket, error) {
	const header = 16 // struct unix_diag_msg
	if len(msg) < header {
		return socket{}, errShort
	}
	order := nl.NativeEndian()
	s := socket{family: msg[0], kind: msg[1], state: msg[2], ino: order.Uint32(msg[4:])}
	attributes, err := nl.ParseRouteAttr(msg[header:])
	if err != nil {
		return s, err
	}
	for _, a := range attributes {
		switch {
		case a.Attr.Type == unixName && len(a.Value) > 0:
			s.name = strings.TrimRight(string(a.Value), "\x00")
			if a.Value[0] == 0 { // in the abstract name space
				s.name = "@" + s.name[min(1, len(s.name)):]
			}
		case a.Attr.Type == unixPeer && len(a.Value) >= 4:
			s.peer = order.Uint32(a.Value)
		case a.Attr.Type == unixPending:
			s.pending = words(a.Value, order)
		case a.Attr.Type == unixShut && len(a.Value) > 0:
			s.shut = a.Value[0]
		}
	}
	return s, nil
}

// routeGroups tell of changes of routes, IPv4 and IPv6, as a mask (linux/rtnetlink.h).
const routeGroups = 1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)

func parseNetlink(msg []byte) (socket, error) {
	const header = 28 // struct netlink_diag_msg
	if len(msg) < header {
		return socket{}, errShort
	}
	order := nl.NativeEndian()
	s := socket{family: msg[0], state: msg[3], address: order.Uint32(msg[4:]), ino: order.Uint32(msg[16:])}
	attributes, err := nl.ParseRouteAttr(msg[header:])
	if err != nil {
		return s, err
	}
	for _, a := range attributes {
		switch {
		case a.Attr.Type == netlinkMemory && len(a.Value) >= 4:
			s.waiting = order.Uint32(a.Value) // SK_MEMINFO_RMEM_ALLOC comes first
		case a.Attr.Type == netlinkGroups:
			groups := words(a.Value, order)
			s.groups = len(groups)
			s.routes = msg[2] == unix.NETLINK_ROUTE && s.groups > 0 && groups[0]&routeGroups != 0
			if s.groups > 0 && groups[s.groups-1] == 0 {
				s.groups--
			}
		}
	}
	return s, nil
}

func words(b []byte, order binary.ByteOrder) []uint32 {
	var all []uint32
	for ; len(b) >= 4; b = b[4:] {
		all = append(all, order.Uint32(b))
	}
	return all
}
