package fence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How soon the guard looks again at pods that it has frozen.
const (
	lookSoon  = time.Millisecond       // until they stand still
	lookAgain = 100 * time.Millisecond // for somebody who let them go
)

// A Guard decides what must stand still. Time and freezers are given to it: it reads no clock and starts nothing. Look allocates no
// memory. It is not safe for concurrent use.
type Guard struct {
	lease Instant // when it ends
	pods  map[string]*held
	ahead time.Duration // by what wall time was ahead of boot time when that was last told
	told  bool
}

// held is a pod under the guard.
type held struct {
	freezers []Freezer
	state    Held
	leased   bool // it was under a valid lease before it was frozen
}

// NewGuard returns one that holds nothing and has no lease.
func NewGuard() *Guard { return &Guard{pods: map[string]*held{}} }

// Renew sets when the lease ends.
func (g *Guard) Renew(end, now Instant) {
	g.follow(now)
	g.lease = end
}

// follow moves the end of the lease with a wall clock that was set back. Else that clock would not tell of a pause of the machine,
// of which boot time knows nothing. One that was set forward may tell of a pause, and ends the lease.
func (g *Guard) follow(now Instant) {
	ahead := time.Duration(now.Wall) - now.Boot
	if g.told && ahead < g.ahead {
		g.lease.Wall -= int64(g.ahead - ahead)
	}
	g.ahead, g.told = ahead, true
}

// Left is how long the lease lasts, not above zero when it has ended.
func (g *Guard) Left(now Instant) time.Duration {
	g.follow(now)
	return g.lease.Left(now)
}

// Hold puts a pod under the guard; it owns the freezers. One that is there keeps its state and gets the new freezers: a pod's
// cgroup may have been made anew.
func (g *Guard) Hold(uid string, freezers []Freezer) {
	p := g.pods[uid]
	if p == nil {
		p = &held{state: Held{UID: uid}}
		g.pods[uid] = p
	}
	p.close()
	p.freezers = freezers
	p.state.Still = false
}

// Drop lets go of a pod, which stays as it is. One that is unknown is fine.
func (g *Guard) Drop(uid string) {
	if p := g.pods[uid]; p != nil {
		p.close()
		delete(g.pods, uid)
	}
}

// Thaw lets a pod go on. Without a lease it is refused.
func (g *Guard) Thaw(uid string, now Instant) error {
	p := g.pods[uid]
	switch {
	case p == nil:
		return fmt.Errorf("pod %s is not under the fence", uid)
	case !g.lease.valid(now):
		return errors.New("the node's lease has ended")
	}
	for _, f := range p.freezers {
		if err := f.Order(false); err != nil && !errors.Is(err, ErrGone) {
			return fmt.Errorf("thawing pod %s: %w", uid, err)
		}
	}
	p.state, p.leased = Held{UID: uid}, true
	return nil
}

// Look freezes what must stand still and returns after how long to look again, 0 for when the lease ends. It never gives up on
// a pod: its processes run no instruction of theirs from the moment in which they were asked, also where the kernel waits
// long for the last of them (one that waits for a disk, or in execve for threads of its own that stand still already; to
// thaw those for a moment would let the pod run).
func (g *Guard) Look(now Instant) time.Duration {
	g.follow(now)
	valid := g.lease.valid(now)
	var again time.Duration
	for _, p := range g.pods {
		if valid && !p.state.Frozen {
			p.leased = true
			continue
		}
		if !p.state.Frozen {
			p.state.Frozen, p.state.Since = true, now.Wall
		}
		next := lookAgain
		if !p.freeze(g.lease, now) {
			next = lookSoon
		}
		if again == 0 || next < again {
			again = next
		}
	}
	return again
}

// freeze asks for it where it is needed, and says whether the pod stands still.
func (p *held) freeze(lease, now Instant) bool {
	if p.state.Still {
		if p.still() {
			return true
		}
		p.state.Still = false
		p.state.Undone++
	}
	for _, f := range p.freezers {
		_ = f.Order(true) // it is asked again until it stands still
	}
	if !p.still() {
		return false
	}
	p.state.Still = true
	if p.leased && p.state.After == 0 {
		p.state.After = max(-lease.Left(now), 1)
	}
	return true
}

// still says whether all of the pod stands still. A cgroup that is gone has nothing in it.
func (p *held) still() bool {
	for _, f := range p.freezers {
		if still, err := f.Still(); !still && !errors.Is(err, ErrGone) {
			return false
		}
	}
	return true
}

func (p *held) close() {
	for _, f := range p.freezers {
		f.Close()
	}
	p.freezers = nil
}

// held describes all pods.
func (g *Guard) held() []Held {
	all := make([]Held, 0, len(g.pods))
	for _, p := range g.pods {
		all = append(all, p.state)
	}
	slices.SortFunc(all, func(a, b Held) int { return strings.Compare(a.UID, b.UID) })
	return all
}
