//go:build root

package host

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/lab"
)

func (m *mesh) footprint(t *testing.T, site string) lab.Footprint {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	f, err := m.Footprint(ctx, site)
	require.NoError(t, err)
	return f
}

func (m *mesh) footprints(t *testing.T) map[string]lab.Footprint {
	t.Helper()
	all := map[string]lab.Footprint{}
	for _, s := range m.Sites() {
		all[s.Name] = m.footprint(t, s.Name)
	}
	return all
}

// requireFootprints waits until every site has again what it had, and nothing more.
func (m *mesh) requireFootprints(t *testing.T, before map[string]lab.Footprint) {
	t.Helper()
	eventually(t, "nothing is left on any site", func() error {
		for _, s := range m.Sites() {
			if more := m.footprint(t, s.Name).Beyond(before[s.Name]); len(more) > 0 {
				return errors.New(s.Name + " has still: " + strings.Join(more, ", "))
			}
		}
		return nil
	})
}
