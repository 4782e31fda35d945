package sim

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// TestHistoriesAreJudged spoils good histories in every way that the rules forbid: a judge who never finds fault would
// prove nothing of the model, nor of hashicorp/raft.
func TestHistoriesAreJudged(t *testing.T) {
	all := func(h *history, do func(node []logged) []logged) {
		for i := range h.nodes {
			h.nodes[i] = do(h.nodes[i])
		}
	}
	answered := func(h *history) *asked {
		return h.asked[slices.IndexFunc(h.asked, func(a *asked) bool { return a.answered && a.ok })]
	}
	find := func(node []logged, id string) int {
		return slices.IndexFunc(node, func(e logged) bool { return e.id == id })
	}
	for want, spoil := range map[string]func(h *history){
		"order:":      func(h *history) { n := h.nodes[0]; n[20], n[21] = n[21], n[20] },
		"terms:":      func(h *history) { all(h, func(n []logged) []logged { n[len(n)-1].term = 0; return n }) },
		"first wins:": func(h *history) { winTwice(h) },
		"durable:":    func(h *history) { id := answered(h).id; all(h, func(n []logged) []logged { return remove(n, id) }) },
		"answer: p":   func(h *history) { answered(h).ok = false },
		"answer: p-1 was answered before it": func(h *history) {
			h.asked[0].answered, h.asked[0].ok, h.asked[0].to = true, h.nodes[0][find(h.nodes[0], "p-1")].ok, 0
		},
		"once:": func(h *history) {
			id := answered(h).id
			all(h, func(n []logged) []logged {
				e := n[find(n, id)]
				e.ok, e.term = !e.ok, n[len(n)-1].term
				return append(n, e)
			})
		},
		"real time:": func(h *history) {
			id := answered(h).id
			all(h, func(n []logged) []logged {
				k := find(n, id)
				e := n[k]
				last := n[len(n)-1]
				e.term = last.term
				return append(slices.Delete(n, k, k+1), e)
			})
		},
	} {
		t.Run(want, func(t *testing.T) {
			for seed := range uint64(50) {
				h := ofTheModel(seed)
				require.NoError(t, h.check())
				if len(h.nodes[0]) != len(h.nodes[1]) || len(h.nodes[0]) != len(h.nodes[2]) || find(h.nodes[0], "p-1") < 0 {
					continue
				}
				spoil(h)
				require.ErrorContains(t, h.check(), want, "seed %d", seed)
				return
			}
			t.Fatal("no history of the model can be spoilt so")
		})
	}
}

func remove(node []logged, id string) []logged {
	return slices.DeleteFunc(node, func(e logged) bool { return e.id == id })
}

// winTwice lets both sides of a race win.
func winTwice(h *history) {
	for _, a := range h.asked {
		if c, ok := a.command.(state.Activate); !ok || c.Node == "" {
			continue
		}
		for i := range h.nodes {
			for k, e := range h.nodes[i] {
				if e.id == a.id {
					h.nodes[i][k].ok = true
				}
			}
		}
		a.answered = false
	}
	for _, a := range h.asked {
		if _, ok := a.command.(state.Abort); ok {
			for i := range h.nodes {
				for k, e := range h.nodes[i] {
					if e.id == a.id {
						h.nodes[i][k].ok = true
					}
				}
			}
			a.answered = false
		}
	}
}
