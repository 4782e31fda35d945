package state

import (
	"fmt"
	"net/netip"
)

// A watcher sees the view after every command and knows what must hold from one to the next.
type watcher struct {
	owners  map[string]string         // "uid@epoch" -> node, for ever
	epochs  map[string]uint64         // uid -> the latest epoch
	phases  map[string]MigrationPhase // migration -> the latest phase
	removed map[string]bool           // uid
}

func newWatcher() *watcher {
	return &watcher{map[string]string{}, map[string]uint64{}, map[string]MigrationPhase{}, map[string]bool{}}
}

// next are the phases that may follow a phase; "" is a migration that wasn't known.
var next = map[MigrationPhase][]MigrationPhase{
	"":        {Reserved, Aborted},
	Reserved:  {Activated, Aborted},
	Activated: {Done, Returned},
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
	if g, ok := v.Migration(p.Migration); p.Migration != "" && (!ok || !g.Phase.Open() || g.UID != p.UID) {
		return fmt.Errorf("pod %s is bound by %q, which isn't an open migration of it", p.Name, p.Migration)
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
