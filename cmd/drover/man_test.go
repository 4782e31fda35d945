package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Every command that a user can see has a page of its own, with its one line.
func TestManHasAPageForEachCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	c, code := drover(t, "", []string{"man", dir})
	require.Zero(t, code, c.stderr.String())
	pages, err := os.ReadDir(dir)
	require.NoError(t, err)
	written := map[string]bool{}
	for _, page := range pages {
		written[page.Name()] = true
	}
	plain := strings.NewReplacer(`\-`, "-", `\&`, "", `\(aq`, "'")
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		require.True(t, written[name], "%s is missing", name)
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, plain.Replace(string(text)), cmd.Short, name)
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(c.command())
}

func TestManIsReproducible(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var texts []string
	for range 2 {
		dir := t.TempDir()
		_, code := drover(t, "", []string{"man", dir})
		require.Zero(t, code)
		text, err := os.ReadFile(filepath.Join(dir, "drover-migrate.1"))
		require.NoError(t, err)
		texts = append(texts, string(text))
	}
	require.Equal(t, texts[0], texts[1])
	require.Contains(t, texts[0], "Nov 2023")
}

func TestManRefusesAFileForADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	c, code := drover(t, "", []string{"man", file})
	require.Equal(t, exitFailure, code)
	require.Contains(t, c.stderr.String(), "writing the manual pages")
}
