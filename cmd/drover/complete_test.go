package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api/apitest"
)

// completions are what a shell is offered for the last of these words.
func completions(t *testing.T, socket string, words ...string) []string {
	t.Helper()
	c, code := drover(t, socket, append([]string{"__complete"}, words...))
	require.Zero(t, code, c.stderr.String())
	lines := strings.Split(strings.TrimSpace(c.stdout.String()), "\n")
	return lines[:len(lines)-1] // the last tells the shell what else to do
}

func TestShellsAreOfferedWhatTheAgentKnows(t *testing.T) {
	socket := apitest.Serve(t, fake(), nil)
	for line, want := range map[string][]string{
		"pod get ":            {"job\tFailed on ams", "redis\tRunning on ams"},
		"pod rm r":            {"redis\tRunning on ams"},
		"migrate --to fra ":   {"job\tFailed on ams", "redis\tRunning on ams"},
		"pod get redis ":      {},
		"migrate redis --to ": {"ams\tnode at amsterdam", "fra\tnode at frankfurt", "nyc\tnode at new-york", "amsterdam\tsite", "frankfurt\tsite", "new-york\tsite"},
		"migration get m4":    {"m4\tredis to fra, done"},
		"migration cancel m3": {"m3\tredis to fra, reserved"},
		"image ls --node f":   {"fra\talive at frankfurt"},
		"pod ls -o ":          {"table\tfor people", "wide\ttable with more columns", "json\tfor programs, with stable names", "yaml\tthe same as json, in YAML"},
		"pod ":                {"get", "logs", "ls", "rm", "run"},
	} {
		var names []string
		for _, got := range completions(t, socket, strings.Split(line, " ")...) {
			if line == "pod " { // their descriptions are their help
				got, _, _ = strings.Cut(got, "\t")
			}
			names = append(names, got)
		}
		if line == "pod " {
			assert.Subset(t, names, want, "drover %s", line)
			continue
		}
		assert.ElementsMatch(t, want, names, "drover %s", line)
	}
}

func TestShellsAreOfferedNothingWithoutAnAgent(t *testing.T) {
	assert.Empty(t, completions(t, "/no/such/socket", "pod", "get", ""))
	assert.Empty(t, completions(t, "/no/such/socket", "migrate", "redis", "--to", ""))
}

func TestArgumentsOfAUsageLine(t *testing.T) {
	for usage, want := range map[string][]string{
		"ls":                               nil,
		"get POD":                          {"POD"},
		"migrate POD --to SITE|NODE":       {"POD"},
		"init [NODE...]":                   {"NODE"},
		"exec POD [-c NAME] -- COMMAND...": {"POD"},
		"load NAME FILE|-":                 {"NAME", "FILE|-"},
	} {
		assert.Equal(t, want, arguments(usage), usage)
	}
}
