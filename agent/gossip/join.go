package gossip

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const (
	// firstRetry is the first wait of a node that found nobody; it doubles up to retryAlone.
	firstRetry = 500 * time.Millisecond
	retryAlone = 10 * time.Second
	// retryLost is how often one of the peers that should be there, but aren't, is tried. memberlist itself gives up
	// the dead after a minute, so that a mesh cut in two for longer would stay so.
	retryLost = 20 * time.Second
)

// keepJoined joins until somebody is found, again when this node is alone, and one of the missing now and then.
func (m *Mesh) keepJoined(ctx context.Context) {
	retry := firstRetry
	for {
		missing, alone := m.missing()
		if !alone && len(missing) > 0 {
			missing = missing[rand.IntN(len(missing)):][:1]
		}
		for _, addr := range missing {
			m.join(ctx, addr)
		}
		wait := retryLost
		if _, alone := m.missing(); alone {
			wait, retry = retry, min(2*retry, retryAlone)
		} else {
			retry = firstRetry
		}
		if !m.sleep(ctx, wait) {
			return
		}
	}
}

// sleep waits until it is time, or this node becomes alone. It is false when ctx has ended.
func (m *Mesh) sleep(ctx context.Context, wait time.Duration) bool {
	_, was := m.missing()
	watch, stop := context.WithTimeout(ctx, wait)
	defer stop()
	for range m.Watch(watch) {
		if _, alone := m.missing(); alone && !was {
			break
		}
	}
	return ctx.Err() == nil
}

// missing returns the gossip addresses where a peer was or should be and no live one is, and whether there are no live
// peers at all.
func (m *Mesh) missing() (addrs []netip.AddrPort, alone bool) {
	addrs = slices.Clone(m.config.Join)
	if m.config.Known != nil {
		for _, addr := range m.config.Known() {
			if !slices.Contains(addrs, addr) {
				addrs = append(addrs, addr)
			}
		}
	}
	var live []netip.AddrPort
	for _, member := range m.Members() {
		switch {
		case member.Node == m.config.Node, member.State == Alive:
			live = append(live, member.Gossip)
		case member.State == Dead && !slices.Contains(addrs, member.Gossip):
			addrs = append(addrs, member.Gossip)
		}
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return slices.Contains(live, a) })
	return addrs, len(live) <= 1
}

func (m *Mesh) join(ctx context.Context, addr netip.AddrPort) {
	if ctx.Err() != nil {
		return
	}
	if _, err := m.list.Join([]string{addr.String()}); err != nil && ctx.Err() == nil {
		m.complain.join(addr, err)
	}
}
