package quorum

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// However many nodes ask, few calls between the servers serve them all.
func TestManyQuestionsAreOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		var calls atomic.Int64
		w := m.witness(leader, m.asking(leader, func(a answer, err error) (answer, error) {
			calls.Add(1)
			return a, err
		}))
		const nodes, rounds = 100, 10
		var all sync.WaitGroup
		for range nodes {
			all.Go(func() {
				for range rounds {
					_, err := w.confirm(m.ctx())
					require.NoError(t, err)
				}
			})
		}
		begun := time.Now()
		all.Wait()
		t.Logf("%d questions took %d calls and %s", nodes*rounds, calls.Load(), time.Since(begun))
		require.LessOrEqual(t, calls.Load(), int64((rounds+2)*(len(servers)-1)))
	})
}

func TestConfirmNeedsTheMajorityOfTheVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		plain := func(a answer, err error) (answer, error) { return a, err }
		term, err := m.witness(leader, m.asking(leader, plain)).confirm(m.ctx())
		require.NoError(t, err)
		require.Equal(t, m.nodes[leader].Status().Term, term)
		m.net.set(leader, others(leader)[0], true)
		_, err = m.witness(leader, m.asking(leader, plain)).confirm(m.ctx())
		require.NoError(t, err, "two of three")
		// A voter that knows of a later term makes no majority.
		_, err = m.witness(leader, m.asking(leader, func(a answer, err error) (answer, error) { a.Term++; return a, err })).confirm(m.ctx())
		require.ErrorContains(t, err, "is in term")
		_, err = m.witness(leader, m.asking(leader, func(answer, error) (answer, error) { return answer{}, errors.New("gone") })).confirm(m.ctx())
		require.ErrorContains(t, err, "gone")
	})
}

type asking = func(context.Context, string, request) (answer, error)

// asking is a server's way to ask others, whose answers are changed.
func (m *mesh) asking(node string, change func(answer, error) (answer, error)) asking {
	return func(ctx context.Context, other string, r request) (answer, error) {
		return change(m.nodes[node].forward(ctx, other, r))
	}
}

// witness is one of a server's own, besides that of its leases.
func (m *mesh) witness(node string, ask asking) *witness {
	return &witness{seat: m.nodes[node].seat.Load(), every: lease / 60, ask: ask}
}
