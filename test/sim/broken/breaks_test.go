package broken

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// Every break still fits the sources that it breaks; whether it is noticed `make sim-breaks` tells.
func TestBreaksFitTheSources(t *testing.T) {
	rules := map[string]bool{}
	for _, b := range Breaks() {
		require.False(t, rules[b.Rule], "%s is there twice", b.Rule)
		rules[b.Rule] = true
		require.NotEmpty(t, b.Edits)
		for _, e := range b.Edits {
			text, err := e.apply(root, nil)
			require.NoError(t, err, b.Rule)
			before, err := os.ReadFile(filepath.Join(root, e.File))
			require.NoError(t, err)
			require.NotEqual(t, string(before), text, b.Rule)
		}
	}
}

func TestABreakThatDoesNotFitIsRefused(t *testing.T) {
	for name, e := range map[string]Edit{
		"has this text 0 times": {"state/doc.go", "no such text", ""},
		"must have it once":     {"state/doc.go", "the", "THE"},
		"no such file":          {"state/nothing.go", "a", "b"},
	} {
		err := Break{"rule", []Edit{e}}.Build(t.Context(), root, t.TempDir(), "./state", os.DevNull)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, `breaking "rule"`)
	}
	err := Break{"rule", []Edit{{"state/doc.go", "package state", "package nonsense"}}}.Build(t.Context(), root, t.TempDir(), "./state", os.DevNull)
	require.ErrorContains(t, err, "the broken sources don't build")
}

func TestFind(t *testing.T) {
	for _, name := range []string{"double activation", "double-activation"} {
		b, ok := Find(name)
		require.True(t, ok)
		require.Equal(t, "double activation", b.Rule)
	}
	_, ok := Find("gravity")
	require.False(t, ok)
}
