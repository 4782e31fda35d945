package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrCannotDisconnect says that this host's kernel can't end connections of others: it was built without
// CONFIG_INET_DIAG_DESTROY.
var ErrCannotDisconnect = errors.New("this kernel can't end TCP connections from outside: it lacks CONFIG_INET_DIAG_DESTROY")

// Layout of struct inet_diag_req_v2 and struct inet_diag_msg (linux/inet_diag.h): four bytes, in the request the mask of
// states, then the same struct inet_diag_sockid, which tells a connection from all others.
const (
	diagRequest  = 20 // SOCK_DIAG_BY_FAMILY
	diagReqSize  = 56
	diagReqID    = 8
	diagMsgID    = 4
	diagIDSize   = 48
	diagIDTarget = 20 // within the ID: the peer's address, 16 bytes
)

// disconnectRounds bounds how often Disconnect looks again: what a listener has just accepted is new.
const disconnectRounds = 5

// Disconnect ends every TCP connection of the pod, which need not run, and returns how many there were. It shuts the egress
// first, so that no peer hears of it; from OpenEgress on one that sends something is told that there is no such connection.
// Listeners stay, and so do connections of the pod with itself: both of their ends are what they were.
//
// It is for a pod whose peers have gone on with a later life of it. Twice is once.
func (c *Cutover) Disconnect() (ended int, err error) {
	err = c.ep.use(func() error {
		if err := c.ep.shut(); err != nil {
			return err
		}
		var err error
		ended, err = c.ep.disconnect()
		return wrap(err, "ending the connections of pod %s", c.ep.uid)
	})
	return ended, err
}

func (ep *endpoint) disconnect() (ended int, err error) {
	conn, err := nl.GetNetlinkSocketAt(ep.ns, netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	diag := tcpDiag{conn}
	for range disconnectRounds {
		found := 0
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			ids, err := diag.connections(family)
			if err != nil {
				return ended, err
			}
			for _, id := range ids {
				if peer := id.peer(family); peer.IsLoopback() || peer == ep.addr {
					continue
				}
				if err := diag.destroy(family, id); err != nil {
					return ended, err
				}
				found++
			}
		}
		if found == 0 {
			return ended, nil
		}
		ended += found
	}
	return ended, errors.New("there are always new ones")
}

// connectionID is a struct inet_diag_sockid.
type connectionID [diagIDSize]byte

func (id connectionID) peer(family uint8) netip.Addr {
	target := id[diagIDTarget:]
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(target[:4]))
	}
	return netip.AddrFrom16([16]byte(target[:16])).Unmap()
}

// tcpDiag is the kernel's view of the TCP sockets of a network namespace, sock_diag(7).
type tcpDiag struct{ conn *nl.NetlinkSocket }

func (d tcpDiag) request(kind, flags int, body []byte) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: d.conn}}
	req.AddRawData(body)
	return req
}

// connections are all but listeners, attempts of peers that have come to nothing yet, and what is over.
func (d tcpDiag) connections(family uint8) ([]connectionID, error) {
	const synReceived, timeWait, newSynReceived = 3, 6, 12 // net/tcp_states.h
	body := diagBody(family)
	nl.NativeEndian().PutUint32(body[4:], ^uint32(1<<tcpListen|1<<synReceived|1<<timeWait|1<<newSynReceived))
	answers, err := d.request(diagRequest, unix.NLM_F_DUMP, body).Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return nil, fmt.Errorf("listing them: %w", err)
	}
	ids := make([]connectionID, 0, len(answers))
	for _, a := range answers {
		if len(a) < diagMsgID+diagIDSize {
			return nil, errors.New("listing them: the kernel's answer is too short")
		}
		ids = append(ids, connectionID(a[diagMsgID:diagMsgID+diagIDSize]))
	}
	return ids, nil
}

// destroy ends a connection; one that is gone has ended.
func (d tcpDiag) destroy(family uint8, id connectionID) error {
	body := diagBody(family)
	copy(body[diagReqID:], id[:])
	_, err := d.request(nl.SOCK_DESTROY, unix.NLM_F_ACK, body).Execute(unix.NETLINK_INET_DIAG, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return ErrCannotDisconnect
	}
	return err
}

// diagBody is a request about TCP.
func diagBody(family uint8) []byte {
	body := make([]byte, diagReqSize)
	body[0], body[1] = family, unix.IPPROTO_TCP
	return body
}
