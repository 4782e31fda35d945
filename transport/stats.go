package transport

import "time"

// What UDP (8 bytes) and IP without options add to a QUIC packet, in bytes.
const (
	perPacketIPv4 = 8 + 20
	perPacketIPv6 = 8 + 40
)

// Stats are totals since the transport was opened, over all connections with one peer.
type Stats struct {
	PayloadSent     int64 // bytes that users of streams wrote
	PayloadReceived int64 // bytes that users of streams read
	WireSent        int64 // bytes in IP packets, with all headers and retransmissions
	WireReceived    int64
	PacketsSent     int64
	PacketsReceived int64
	PacketsLost     int64
}

func (st *Stats) add(s *session) {
	c := s.conn.ConnectionStats()
	st.PayloadSent += s.payloadSent.Load()
	st.PayloadReceived += s.payloadReceived.Load()
	st.PacketsSent += int64(c.PacketsSent)
	st.PacketsReceived += int64(c.PacketsReceived)
	st.PacketsLost += int64(c.PacketsLost)
	header := s.perPacket()
	st.WireSent += int64(c.BytesSent + c.PacketsSent*header)
	st.WireReceived += int64(c.BytesReceived + c.PacketsReceived*header)
}

// Stats returns the totals of what went to and came from a node.
func (t *Transport) Stats(node string) Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	var st Stats
	if past := t.past[node]; past != nil {
		st = *past
	}
	for s := range t.sessions {
		if s.peer == node {
			st.add(s)
		}
	}
	return st
}

// BytesSent returns the bytes on the wire to a node since the transport was opened: Stats.WireSent.
func (t *Transport) BytesSent(node string) int64 { return t.Stats(node).WireSent }

// RTT returns the smoothed round-trip time to a node, the least over its connections, since queues of our
// own bulk data don't count. It is 0 if there is no connection.
func (t *Transport) RTT(node string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var least time.Duration
	for s := range t.sessions {
		rtt := s.conn.ConnectionStats().SmoothedRTT
		if s.peer == node && rtt > 0 && (least == 0 || rtt < least) {
			least = rtt
		}
	}
	return least
}
