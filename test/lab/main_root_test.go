//go:build root

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/wan"
)

// TestMain lets this test program be what a lab's hidden commands run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		fmt.Fprintln(os.Stderr, "this is no agent")
		os.Exit(3)
	}
	if len(os.Args) < 3 || os.Args[1] != "lab" {
		os.Exit(m.Run())
	}
	code, err := 0, error(nil)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch args := os.Args[2:]; args[0] {
	case commandSiteInit:
		err = SiteInit(context.Background(), args[2], args[4], log)
	case commandRouter:
		err = RunRouter(context.Background(), args[2], log)
	case commandSiteExec:
		code, err = SiteExec(args[2], args[4], args[6:])
	case "up": // the process that a test kills in the middle
		_, err = Up(context.Background(), testOptions(args[1]), func(line string) { fmt.Println(line) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testOptions are of a small lab whose agents are stand-ins.
func testOptions(name string) Options {
	return Options{
		Name: name, Sites: 2, Seed: 1, Timeout: 30 * time.Second,
		Conditions:   wan.Conditions{Delay: 5 * time.Millisecond, Rate: 1e9},
		AgentCommand: []string{"/bin/sh", "-c", "echo agent of $HOSTNAME; echo $$ > /run/pid; sleep 1000 & wait"},
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: run make test")
	}
}

// noLeaks fails the test if it leaves something of the labs in their names.
func noLeaks(t *testing.T, names ...string) {
	t.Helper()
	needRoot(t)
	before, err := Snapshot()
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, name := range names {
			require.NoError(t, Down(context.Background(), name))
		}
		leaks, err := before.Leaks(context.Background())
		require.NoError(t, err)
		require.Empty(t, mine(leaks, names))
	})
}

// mine leaves out what other tests on this machine come and go with at the same time.
func mine(leaks []Leak, names []string) []Leak {
	var found []Leak
	for _, leak := range leaks {
		for _, name := range names {
			if strings.Contains(leak.Name, name) || leak.Kind == "nft" || leak.Kind == "rule" || strings.Contains(leak.Name, "wan0") {
				found = append(found, leak)
				break
			}
		}
	}
	return found
}

func up(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := Up(t.Context(), o, func(line string) { t.Log(line) })
	require.NoError(t, err)
	return l
}

// inSite runs a command in a site and returns what it wrote.
func inSite(t *testing.T, l *Lab, site string, argv ...string) string {
	t.Helper()
	cmd := l.Exec(t.Context(), site, argv...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.NoError(t, err, "%v in %s: %s", argv, site, errs.String())
	return strings.TrimSpace(out.String())
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
