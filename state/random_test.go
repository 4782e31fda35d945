package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// TestRandomDelivery lets every command that anybody might have sent arrive in any order, late, doubled
// under its ID or proposed anew, with restarts from snapshots between, and checks the invariants after each.
func TestRandomDelivery(t *testing.T) {
	seeds := uint64(3000)
	if testing.Short() {
		seeds = 400
	}
	phases := map[MigrationPhase]int{}
	rejoined, origins := 0, map[OriginKind]int{}
	for seed := range seeds {
		m, err := deliverAtRandom(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, g := range m.View().Migrations() {
			phases[g.Phase]++
		}
		for _, p := range m.View().Pods() {
			if p.Origin != nil {
				origins[p.Origin.Kind]++
			}
		}
		for _, e := range m.View().t.enrolments {
			if e.Generation > 1 {
				rejoined++
			}
		}
	}
	// A generator that never gets anywhere would prove nothing.
	for _, phase := range []MigrationPhase{Reserved, Activated, Done, Returned, Aborted, FailedOver} {
		if phases[phase] < int(seeds)/20 {
			t.Errorf("only %d migrations ended up %s: %v", phases[phase], phase, phases)
		}
	}
	for _, kind := range []OriginKind{OriginImage, OriginFrozen} {
		if origins[kind] < int(seeds)/50 { // of those that are left at the end
			t.Errorf("only %d pods began anew from %s", origins[kind], kind)
		}
	}
	if rejoined < int(seeds)/100 {
		t.Errorf("only %d nodes joined anew after their removal", rejoined)
	}
}

func deliverAtRandom(seed uint64) (*Machine, error) {
	g := generator{rand.New(rand.NewPCG(seed, 1)), 0, nil}
	m, w := New(), newWatcher()
	for range 150 {
		if g.IntN(40) == 0 {
			restored, err := restored(m)
			if err != nil {
				return nil, err
			}
			m = restored
		}
		p := g.proposal(m.View())
		before := m.View()
		r := m.ApplyOnce(p.id, p.command)
		if r.OK == (r.Reason != "") {
			return nil, fmt.Errorf("%#v: result %#v", p.command, r)
		}
		if err := w.check(m.View()); err != nil {
			return nil, fmt.Errorf("after %s %#v: %w", p.id, p.command, err)
		}
		if latest := m.View().Latest(); latest != p.id && latest != before.Latest() {
			return nil, fmt.Errorf("after %s the latest proposal is %q, and was %q", p.id, latest, before.Latest())
		}
		if m.View().Index() != before.Index()+1 {
			return nil, fmt.Errorf("the index went from %d to %d", before.Index(), m.View().Index())
		}
		if err := checkTerm(before, m.View(), p.command); err != nil {
			return nil, err
		}
		if !r.OK && !sameRecords(before, m.View()) {
			return nil, fmt.Errorf("%#v was refused (%s), and yet changed something", p.command, r.Reason)
		}
	}
	return m, nil
}

// checkTerm: a leader whose reign is over takes no pod from its node.
func checkTerm(before, after View, c Command) error {
	var term uint64
	switch c := c.(type) {
	case Failover:
		term = c.Term
	case AbortAndFailover:
		term = c.Term
	default:
		return nil
	}
	if term != before.Reign().Term && !sameRecords(before, after) {
		return fmt.Errorf("%#v came in term %d, and yet changed something", c, before.Reign().Term)
	}
	return nil
}

type proposal struct {
	id      string
	command Command
}

// A generator makes plausible commands: mostly such as fit the state, or fitted it once.
type generator struct {
	*rand.Rand
	count int
	sent  []proposal
}

func (g *generator) proposal(v View) proposal {
	if len(g.sent) > 0 && g.IntN(4) == 0 {
		p := g.sent[g.IntN(len(g.sent))] // the same proposal again
		if _, create := p.command.(CreatePod); !create && g.IntN(2) == 0 {
			g.count++
			p.id = fmt.Sprintf("p-%d", g.count) // or its content, by a proposer that lost its memory
		}
		return p
	}
	g.count++
	p := proposal{fmt.Sprintf("p-%d", g.count), g.command(v)}
	g.sent = append(g.sent, p)
	return p
}

func (g *generator) command(v View) Command {
	nodes := []string{"ams", "fra", "nyc"}
	pods := []string{"p1", "p2"}
	node, pod := nodes[g.IntN(3)], pods[g.IntN(2)]
	if e, _ := v.Enrolment(node); e.Removed && g.IntN(4) > 0 || g.IntN(200) == 0 {
		return g.admission(v, node)
	}
	if g.count < 20 && g.IntN(2) == 0 || g.IntN(20) == 0 {
		return g.setup(node, pod)
	}
	if v.Reign().Term == 0 && g.IntN(5) == 0 {
		return Reign{Server: node, Term: uint64(1 + g.IntN(3))}
	}
	current, _ := v.Pod(pod)
	if current.Node != "" && g.IntN(5) > 0 {
		node = current.Node
	}
	record := Migration{ID: fmt.Sprintf("m-%d", g.IntN(g.count)), Target: node, UID: current.UID, Epoch: uint64(g.IntN(5))}
	if all := v.Migrations(); len(all) > 0 && g.IntN(8) > 0 {
		record = all[g.IntN(len(all))]
		if open, ok := v.Migration(current.Migration); ok && g.IntN(3) > 0 {
			record = open
		}
	}
	if record.Phase == Activated && g.IntN(12) == 0 {
		return g.abortAndFailover(v, current, record, record.Target, nodes[g.IntN(3)])
	}
	switch g.IntN(56) {
	case 42, 43, 44, 45, 46, 47:
		return g.failover(v, current, node, nodes[g.IntN(3)])
	case 48, 49, 50, 51, 52, 53:
		return g.abortAndFailover(v, current, record, node, nodes[g.IntN(3)])
	case 54:
		return StartOver{current.UID, node, current.Epoch - uint64(g.IntN(2)), time.Unix(int64(g.count), 0), "its host was rebooted"}
	case 55:
		now := v.Reign()
		return Reign{nodes[g.IntN(3)], now.Term + uint64(g.IntN(3)), time.Duration(2+g.IntN(3)) * time.Second, g.IntN(3) == 0}
	case 41:
		return CordonNode{node, g.IntN(6) == 0}
	case 40:
		return LabelNode{Name: node, Set: map[string]string{"disk": "ssd"}}
	case 0:
		return MarkDeleting{Name: pod}
	case 1, 2:
		return DeletePod{pod, current.UID}
	case 3, 4, 5, 6:
		return Abort{Migration: record.ID, Reason: "time", UID: record.UID, Epoch: record.Epoch}
	case 7, 8, 9, 10, 11, 12, 13, 14:
		return Activate{record.ID, record.Target, record.Epoch}
	case 15, 16:
		return Return{Migration: record.ID, Node: record.Target, Reason: "restore failed", Ran: g.IntN(3) == 0, At: time.Unix(int64(g.count), 0)}
	case 17, 18, 19, 20:
		return Complete{record.ID, record.Target}
	default:
		return Reserve{fmt.Sprintf("m-%d", g.count), pod, node, nodes[g.IntN(3)], uint64(g.IntN(2)) * current.Epoch}
	}
}

// term is mostly that of the reign.
func (g *generator) term(v View) uint64 {
	if g.IntN(6) == 0 {
		return uint64(g.IntN(8))
	}
	return v.Reign().Term
}

func (g *generator) failover(v View, pod Pod, from, to string) Command {
	return Failover{pod.UID, pod.Epoch - uint64(g.IntN(8)/7), from, to, g.term(v), time.Unix(int64(g.count), 0), "it is lost"}
}

func (g *generator) abortAndFailover(v View, pod Pod, record Migration, from, to string) Command {
	if g.IntN(2) == 0 {
		to = record.Source
	}
	return AbortAndFailover{
		record.ID, pod.UID, pod.Epoch - uint64(g.IntN(8)/7), from, to, g.IntN(3) == 0, g.term(v), time.Unix(int64(g.count), 0), "it is lost",
	}
}

func (g *generator) setup(node, pod string) Command {
	volumes := [][]string{nil, {"data-" + pod}}
	switch g.IntN(7) {
	case 0:
		return SetMesh{netip.MustParsePrefix("10.88.0.0/29"), fmt.Sprintf("mesh-%d", g.IntN(3))}
	case 1:
		return ForgetNode{Name: node, DeletePods: g.IntN(12) == 0}
	case 2, 3, 4:
		return RegisterNode{Node{Name: node, Site: "site", Capacity: Resources{CPU: int64(g.IntN(3)) * 1000}}}
	default:
		return CreatePod{
			Name: pod, UID: fmt.Sprintf("u-%d", g.count), Node: node, Containers: testContainers,
			Needs:    Needs{CPU: int64(g.IntN(3)) * 400, Volumes: volumes[g.IntN(3)/2]},
			Failover: []FailoverPolicy{FailoverRestart, FailoverRestart, FailoverNone}[g.IntN(3)],
			Manifest: json.RawMessage(`{ "spec": "<&>" }`), Created: time.Unix(int64(g.count), 0),
		}
	}
}

// admission makes tokens and uses them, at times by a hair too late or too early.
func (g *generator) admission(v View, node string) Command {
	tokens := v.Tokens()
	now := time.Unix(int64(g.count), 0)
	if len(tokens) == 0 || g.IntN(8) == 0 {
		id := fmt.Sprintf("t-%d", g.count)
		return CreateToken{ID: id, Hash: testHash(id), Uses: 1 + g.IntN(3), Created: now, Expires: now.Add(time.Duration(g.IntN(300)) * time.Second)}
	}
	t := tokens[g.IntN(len(tokens))]
	if g.IntN(10) == 0 {
		return RevokeToken{ID: t.ID}
	}
	return UseToken{ID: t.ID, Hash: t.Hash, Node: node, Key: testHash(fmt.Sprint("key", g.IntN(4))), At: now}
}

// restored returns what a snapshot of m gives, having made sure that it is m.
func restored(m *Machine) (*Machine, error) {
	var first, second bytes.Buffer
	if err := m.Snapshot(&first); err != nil {
		return nil, err
	}
	data := bytes.Clone(first.Bytes())
	other := New()
	if err := other.Restore(&first); err != nil {
		return nil, err
	}
	if err := other.Snapshot(&second); err != nil {
		return nil, err
	}
	if !bytes.Equal(data, second.Bytes()) {
		return nil, fmt.Errorf("a restored machine differs:\n%s%s", data, second.Bytes())
	}
	return other, nil
}

// sameRecords compares all but the index and the remembered outcomes.
func sameRecords(a, b View) bool {
	a.t.index, a.t.outcomes = b.t.index, b.t.outcomes
	return reflect.DeepEqual(a, b)
}
