package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leaves are the commands that people call, except those that cobra brings.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var all []*cobra.Command
	for _, sub := range cmd.Commands() {
		if name := sub.Name(); name != "help" && name != "completion" && !sub.Hidden {
			all = append(all, leaves(sub)...)
		}
	}
	return all
}

func TestEveryCommandHasAnExample(t *testing.T) {
	all := leaves((&cli{}).command())
	require.Greater(t, len(all), 40)
	for _, cmd := range all {
		assert.NotEmpty(t, cmd.Short, cmd.CommandPath())
		lines := strings.Split(cmd.Example, "\n")
		named := false
		for _, line := range lines {
			assert.True(t, strings.HasPrefix(line, "  "), "%s: %q is not indented", cmd.CommandPath(), line)
			named = named || strings.Contains(line, cmd.CommandPath()) || strings.Contains(line, "drover "+cmd.Name())
		}
		assert.True(t, named, "%s: no example calls it", cmd.CommandPath())
	}
}

// Examples are tried: the command and its flags exist, and the number of arguments is right.
func TestExamplesParse(t *testing.T) {
	for _, cmd := range leaves((&cli{}).command()) {
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, "#")
			for _, part := range strings.Split(strings.ReplaceAll(line, "&&", "|"), "|") {
				words := strings.Fields(part)
				if len(words) == 0 || words[0] != "drover" {
					continue
				}
				if i := strings.IndexAny(part, "<>"); i >= 0 {
					words = strings.Fields(part[:i])
				}
				root := (&cli{}).command()
				found, args, err := root.Find(words[1:])
				require.NoError(t, err, part)
				require.NoError(t, found.ParseFlags(args), "%q", part)
				require.NoError(t, found.ValidateRequiredFlags(), part)
				if found.Args != nil {
					require.NoError(t, found.Args(found, found.Flags().Args()), part)
				}
			}
		}
	}
}
