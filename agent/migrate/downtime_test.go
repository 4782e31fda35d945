package migrate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAgreementCostsNothingBesideTheRestore lets the mesh and CRIU take their time: they do so side by side.
func TestAgreementCostsNothingBesideTheRestore(t *testing.T) {
	for name, took := range map[string]struct{ commit, restore time.Duration }{
		"a slow restore": {commit: 100 * time.Millisecond, restore: 300 * time.Millisecond},
		"a slow mesh":    {commit: 300 * time.Millisecond, restore: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := w.start("ams")
				w.start("fra")
				defer w.drain()
				w.suffer(func(_ *world, point string, m moment) error {
					takes := map[string]time.Duration{"fra propose state.Activate": took.commit, "fra wait restore": took.restore}[point]
					if m == before && takes > 0 {
						w.mu.Unlock()
						time.Sleep(takes) // virtual
						w.mu.Lock()
					}
					return nil
				})
				d := NewDeparture(a.config(), w.plan(), source{a}, peer{a, w.hosts["fra"]}, func(Progress) {})
				report, err := d.Run(a.life, context.Background())
				require.NoError(t, err)
				require.Equal(t, max(took.commit, took.restore)-d.target.RTT()/2, report.Downtime)
				synctest.Wait()
				w.settled(t, name)
			})
		})
	}
}
