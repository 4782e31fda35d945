package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Queues is what a pod's sockets hold, in bytes.
type Queues struct {
	Unread  uint64 // TCP and UDP: arrived, and not yet read by the pod
	Unsent  uint64 // TCP: written, and not yet sent for the first time
	Unacked uint64 // TCP: written, and not yet acknowledged; includes Unsent
}

// settled says that nothing would be lost or late if the pod were frozen now: UDP's receive queues are not part of its image.
func (q Queues) settled() bool { return q.Unread == 0 && q.Unsent == 0 }

// tcpListen is the state of a listening socket (net/tcp_states.h); its queue counts connections, not bytes.
const tcpListen = 10

// drainPoll is the pause between two looks at the sockets; one look takes up to 0.5 ms (it walks the hash tables of all connections).
const drainPoll = 200 * time.Microsecond

// Drain lets the running pod empty its sockets, whose traffic Divert leads away by now, and returns what is left in them: after
// nothing is, or after limit, which is no error. A sender with a full congestion window never gets there, so the limit should
// be some milliseconds.
func (c *Cutover) Drain(ctx context.Context, limit time.Duration) (Queues, error) {
	end := time.Now().Add(limit)
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for {
		var q Queues
		err := c.ep.use(func() (err error) { q, err = c.ep.queues(); return err })
		if err == nil && q.settled() {
			return q, nil
		}
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return q, fmt.Errorf("reading the sockets of pod %s: %w", c.ep.uid, err)
		}
		if !time.Now().Before(end) {
			return q, nil
		}
		select {
		case <-ctx.Done():
			return q, ctx.Err()
		case <-ticker.C:
		}
	}
}

// queues sums up the pod's sockets, by sock_diag.
func (ep *endpoint) queues() (q Queues, err error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		tcp, err := ep.pod.SocketDiagTCPInfo(family)
		if err != nil {
			return q, err
		}
		for _, s := range tcp {
			if s.InetDiagMsg.State == tcpListen {
				continue
			}
			q.Unread += uint64(s.InetDiagMsg.RQueue)
			q.Unacked += uint64(s.InetDiagMsg.WQueue)
			if s.TCPInfo != nil {
				q.Unsent += uint64(s.TCPInfo.Notsent_bytes)
			}
		}
		udp, err := ep.pod.SocketDiagUDP(family)
		if err != nil {
			return q, err
		}
		for _, s := range udp {
			q.Unread += uint64(s.RQueue)
		}
	}
	return q, nil
}
