package state

import (
	"fmt"
	"net/netip"
	"time"
)

// A watcher sees the view after every command and knows what must hold from one to the next.
type watcher struct {
	owners  map[string]string         // "uid@epoch" -> node, for ever
	epochs  map[string]uint64         // uid -> the latest epoch
	phases  map[string]MigrationPhase // migration -> the latest phase
	removed map[string]bool           // uid
	joined  map[string]Enrolment      // by node
	before  View
}

func newWatcher() *watcher {
	return &watcher{map[string]string{}, map[string]uint64{}, map[string]MigrationPhase{}, map[string]bool{}, map[string]Enrolment{}, View{}}
}

// next are the phases that may follow a phase; "" is a migration that wasn't known.
var next = map[MigrationPhase][]MigrationPhase{
	"":        {Reserved, Aborted},
	Reserved:  {Activated, Aborted},
	Activated: {Done, Returned, FailedOver},
}

func (w *watcher) check(v View) error {
	addrs := map[netip.Addr]string{}
	alive := map[string]bool{}
	for _, p := range v.Pods() {
		alive[p.UID] = true
		if err := w.checkPod(v, p); err != nil {
			return err
		}
		if other, ok := addrs[p.Addr]; ok {
			return fmt.Errorf("pods %s and %s both have %s", other, p.Name, p.Addr)
		}
		addrs[p.Addr] = p.Name
	}
	for uid := range w.epochs {
		if !alive[uid] {
			w.removed[uid] = true
		}
	}
	if err := w.checkReign(v); err != nil {
		return err
	}
	if err := w.checkEnrolments(v); err != nil {
		return err
	}
	finished := 0
	for _, g := range v.Migrations() {
		if !g.Phase.Open() {
			finished++
		}
		if err := w.checkMigration(v, g); err != nil {
			return err
		}
	}
	if finished > FinishedMigrations {
		return fmt.Errorf("%d finished migrations are kept", finished)
	}
	defer func() { w.before = v }()
	for _, n := range v.Nodes() {
		if err := w.checkNode(v, n); err != nil {
			return err
		}
	}
	return nil
}

// checkNode makes sure that nothing came to a node that was closed: cordoned, or full.
func (w *watcher) checkNode(v View, n Node) error {
	was, known := w.before.Node(n.Name)
	before, now := w.before.Allocated(n.Name), v.Allocated(n.Name)
	switch {
	case known && was.Cordoned && n.Cordoned && now.Pods > before.Pods:
		return fmt.Errorf("node %s is cordoned, and went from %d to %d pods", n.Name, before.Pods, now.Pods)
	case n.Capacity.CPU > 0 && now.Requested.CPU > n.Capacity.CPU && now.Requested.CPU > before.Requested.CPU:
		return fmt.Errorf("node %s has %+v, and %+v is requested", n.Name, n.Capacity, now.Requested)
	}
	return nil
}

func (w *watcher) checkPod(v View, p Pod) error {
	if w.removed[p.UID] {
		return fmt.Errorf("pod %s came back with UID %s after it was removed", p.Name, p.UID)
	}
	if _, ok := v.Node(p.Node); !ok {
		return fmt.Errorf("pod %s is owned by %q, which is no node", p.Name, p.Node)
	}
	if !v.PodCIDR().Contains(p.Addr) {
		return fmt.Errorf("pod %s has %s, outside %s", p.Name, p.Addr, v.PodCIDR())
	}
	if p.Epoch == 0 || p.Epoch < w.epochs[p.UID] {
		return fmt.Errorf("pod %s went from epoch %d to %d", p.Name, w.epochs[p.UID], p.Epoch)
	}
	w.epochs[p.UID] = p.Epoch
	key := fmt.Sprintf("%s@%d", p.UID, p.Epoch)
	if owner, ok := w.owners[key]; ok && owner != p.Node {
		return fmt.Errorf("epoch %s had two owners: %s and %s", key, owner, p.Node)
	}
	w.owners[key] = p.Node
	if err := w.checkOrigin(p); err != nil {
		return err
	}
	if g, ok := v.Migration(p.Migration); p.Migration != "" && (!ok || !g.Phase.Open() || g.UID != p.UID) {
		return fmt.Errorf("pod %s is bound by %q, which isn't an open migration of it", p.Name, p.Migration)
	}
	return nil
}

// checkOrigin: a life begins with an epoch of its own, later than the one before; who has no policy never begins from its image again.
func (w *watcher) checkOrigin(p Pod) error {
	before, _ := w.before.Pod(p.Name)
	switch o := p.Origin; {
	case o == nil:
		if before.UID == p.UID && before.Origin != nil {
			return fmt.Errorf("pod %s has forgotten how its life began", p.Name)
		}
	case !p.NeedsLease() && o.Kind == OriginImage:
		return fmt.Errorf("pod %s has no policy, and began anew: %+v", p.Name, *o)
	case o.Epoch > p.Epoch || o.Lost == "" || (o.Kind == OriginFrozen) != (o.Move != ""):
		return fmt.Errorf("pod %s is in epoch %d, and began with %+v", p.Name, p.Epoch, *o)
	case before.UID != p.UID || before.Origin != nil && *before.Origin == *o:
	case o.Epoch != p.Epoch || p.Epoch <= before.Epoch:
		return fmt.Errorf("pod %s began anew in epoch %d with %+v, after epoch %d", p.Name, p.Epoch, *o, before.Epoch)
	case o.Kind == OriginFrozen && (!p.Continues(o.Epoch-2) || p.Continues(o.Epoch-1)):
		return fmt.Errorf("pod %s doesn't go on from its frozen copy: %+v", p.Name, *o)
	case o.Kind == OriginImage && p.Continues(o.Epoch-1):
		return fmt.Errorf("pod %s goes on with what is lost: %+v", p.Name, *o)
	}
	return nil
}

// checkReign: terms only grow, each is one server's, and no lease is forgotten.
func (w *watcher) checkReign(v View) error {
	was, now := w.before.Reign(), v.Reign()
	switch {
	case now.Term < was.Term, now.Term == was.Term && (now.Server != was.Server || now.Lease != was.Lease):
		return fmt.Errorf("the reign went from %+v to %+v", was, now)
	case v.LongestLease() < now.Lease, v.LongestLease() < w.before.LongestLease() && !now.Settled:
		return fmt.Errorf("the longest lease went from %s to %s in %+v", w.before.LongestLease(), v.LongestLease(), now)
	}
	return nil
}

// checkEnrolments: no token is used too often, generations only grow and keep their key, and who was removed
// comes back in another generation only.
func (w *watcher) checkEnrolments(v View) error {
	for _, t := range v.Tokens() {
		seen := map[TokenUse]bool{}
		for _, u := range t.Used {
			u.At = time.Time{}
			if seen[u] {
				return fmt.Errorf("token %s was used twice by %s with one key", t.ID, u.Node)
			}
			seen[u] = true
		}
		if t.Left() < 0 {
			return fmt.Errorf("token %s was used %d times, of %d", t.ID, len(t.Used), t.Uses)
		}
	}
	for node, was := range w.joined {
		e, ok := v.Enrolment(node)
		if !ok || e.Generation < was.Generation {
			return fmt.Errorf("the enrolment of %s went from %+v to %+v", node, was, e)
		}
		if e.Generation == was.Generation && (e.Key != was.Key || was.Removed && !e.Removed) {
			return fmt.Errorf("generation %d of %s went from %+v to %+v", e.Generation, node, was, e)
		}
		w.joined[node] = e
	}
	for _, n := range v.Nodes() {
		e, ok := v.Enrolment(n.Name)
		if ok && e.Removed {
			return fmt.Errorf("node %s is known, and removed", n.Name)
		}
		if ok {
			w.joined[n.Name] = e
		}
	}
	return nil
}

func (w *watcher) checkMigration(v View, g Migration) error {
	p, ok := v.Pod(g.Pod)
	if g.Phase.Open() && (!ok || p.Migration != g.ID) {
		return fmt.Errorf("open %s doesn't bind pod %s", g, g.Pod)
	}
	if g.Phase == Reserved && (p.Node != g.Source || p.Epoch+1 != g.Epoch) {
		return fmt.Errorf("%s is reserved, but pod %s is at %s in epoch %d", g, p.Name, p.Node, p.Epoch)
	}
	if g.Phase == Activated && (p.Node != g.Target || p.Epoch != g.Epoch) {
		return fmt.Errorf("%s is activated, but pod %s is at %s in epoch %d", g, p.Name, p.Node, p.Epoch)
	}
	was := w.phases[g.ID]
	w.phases[g.ID] = g.Phase
	if was == g.Phase {
		return nil
	}
	for _, phase := range next[was] {
		if phase == g.Phase {
			return nil
		}
	}
	return fmt.Errorf("%s went from %q to %q", g, was, g.Phase)
}
