//go:build root

package migrate

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/isolation"
	"github.com/drover-mesh/drover/test/volatile"
)

func TestMain(m *testing.M) { isolation.Main(m, "migrate", func(string) int { return 1 }) }

// Whenever the power fails, a journal is there if its move may have been reserved, it has every step that may have run, and
// the next agent records on.
func TestJournalOutlivesThePower(t *testing.T) {
	order := []string{"presync", "freeze", "final", "restore", "activate", "release", "retire"}
	volatile.Losses{
		Random: 150, Seed: 2,
		Work: func(t *testing.T, dir string, promise func(string)) {
			moves := filepath.Join(dir, "state", "moves")
			require.NoError(t, MakeJournals(moves))
			j, err := createJournal(moves, AsSource, planned())
			require.NoError(t, err)
			promise("made")
			for _, s := range order {
				before := len(j.Entries())
				require.NoError(t, j.Begin(s))
				if len(j.Entries()) > before {
					promise(s)
				}
				if s == "freeze" { // another move, the other way
					other, err := createJournal(moves, AsTarget, Plan{ID: "m2"})
					require.NoError(t, err)
					require.NoError(t, other.Begin("restore"))
					require.NoError(t, other.Remove())
				}
			}
			require.NoError(t, j.file.Close())
		},
		Check: func(t *testing.T, dir string, promised []string) {
			moves := filepath.Join(dir, "state", "moves")
			require.NoError(t, MakeJournals(moves))
			others, err := openJournals(moves, AsTarget)
			require.NoError(t, err)
			for _, other := range others {
				require.NoError(t, other.file.Close())
			}
			all, err := openJournals(moves, AsSource)
			require.NoError(t, err)
			if len(promised) == 0 && len(all) == 0 {
				return
			}
			require.Len(t, all, 1)
			j := all[0]
			defer j.Remove() //nolint:errcheck // of a disk that ends here
			require.Equal(t, planned(), j.Plan)
			have := steps(j)
			require.Equal(t, order[:len(have)], append([]string{}, have...))
			for _, s := range promised[min(1, len(promised)):] {
				require.True(t, j.Begun(s), "%s of %v is lost", s, promised)
			}
			require.NoError(t, j.Begin("return"))
			again, err := openJournals(moves, AsSource)
			require.NoError(t, err)
			require.Equal(t, append(have, "return"), steps(again[0]))
			require.NoError(t, again[0].file.Close())
		},
	}.Run(t)
}
