package structure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linter finds the golangci-lint that `make tools` installs.
func linter(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	for _, dir := range []string{os.Getenv("TOOLS"), filepath.Join(cache, "drover", "tools")} {
		if path := filepath.Join(dir, "golangci-lint"); dir != "" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	t.Fatal("golangci-lint is missing; run: make tools")
	return ""
}

// imports is a package directory and what a file there imports.
type imports struct{ dir, path string }

// lintImports runs the repository's depguard rules over a module in which a file makes each of the imports, and returns
// the imports that were reported. The files are external tests, so that opposite imports make no cycle.
func lintImports(t *testing.T, wanted []imports) map[imports]bool {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(repository(t).root, ".golangci.yml"))
	require.NoError(t, err)
	gomod := "module " + module + "\n\ngo 1.26.0\n"
	files := map[string]string{".golangci.yml": string(config)}
	stub := func(dir string) { files[dir+"/stub.go"] = "package stub\n" }
	for i, im := range wanted {
		stub(im.dir)
		files[fmt.Sprintf("%s/import%d_test.go", im.dir, i)] = fmt.Sprintf("package stub_test\n\nimport _ %q\n", im.path)
		if local, ok := strings.CutPrefix(im.path, module+"/"); ok {
			stub(local)
		} else if strings.Contains(im.path, ".") {
			third := "third/" + im.path
			stub(third)
			if files[third+"/go.mod"] != "" {
				continue // required already
			}
			files[third+"/go.mod"] = "module " + im.path + "\n"
			gomod += fmt.Sprintf("require %[1]s v%[2]d.0.0\nreplace %[1]s => ./%[3]s\n", im.path, majorOf(im.path), third)
		}
	}
	files["go.mod"] = gomod
	planted := plant(t, files)
	lint := exec.Command(linter(t), "run", "--enable-only", "depguard", "--allow-parallel-runners",
		"--max-issues-per-linter", "0", "--max-same-issues", "0", "--output.text.path", "stdout", "--output.text.print-issued-lines=false", "./...")
	lint.Dir = planted.root
	lint.Env = append(os.Environ(), "GOLANGCI_LINT_CACHE="+t.TempDir(), "GOFLAGS=-mod=mod", "GOPROXY=off", "NO_COLOR=1")
	out, err := lint.CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 1, exit.ExitCode(), "golangci-lint itself failed:\n%s", out)
	}
	require.NotContains(t, string(out), "(typecheck)", "the planted module doesn't load")

	reported := map[imports]bool{}
	for line := range strings.SplitSeq(string(out), "\n") {
		for i, im := range wanted {
			if strings.HasPrefix(line, fmt.Sprintf("%s/import%d_test.go:", im.dir, i)) && strings.Contains(line, "is not allowed") {
				reported[im] = true
			}
		}
	}
	return reported
}

// majorOf is the major version that a module path ends in, or 0.
func majorOf(path string) int {
	var major int
	if _, err := fmt.Sscanf(filepath.Base(path), "v%d", &major); err != nil {
		return 0
	}
	return major
}

// Every row of the import table is a depguard rule that reports what the row forbids.
func TestLintRulesCanFail(t *testing.T) {
	bad := slices.Clone(importViolations)
	// A directory that comes later needs its rule too: nothing under agent/ is left without one.
	for _, src := range repository(t).sources() {
		if parts := strings.Split(src.dir, "/"); parts[0] == "agent" && len(parts) > 1 {
			bad = append(bad, imports{"agent/" + parts[1], module + "/agent/sibling"})
		}
	}
	slices.SortFunc(bad, func(a, b imports) int { return strings.Compare(a.dir+" "+a.path, b.dir+" "+b.path) })
	bad = slices.Compact(bad)
	reported := lintImports(t, bad)
	for _, im := range bad {
		assert.True(t, reported[im], "no depguard rule keeps %s from importing %s", im.dir, im.path)
	}
}

// A rule that forbids everything would pass the test above too.
func TestLintRulesAllowTheTable(t *testing.T) {
	reported := lintImports(t, []imports{
		{"state", "net/netip"},
		{"state/quorum", module + "/state"},
		{"state/quorum", "github.com/hashicorp/raft"},
		{"transport/wire", "encoding/json"},
		{"transport", module + "/transport/wire"},
		{"transport", "github.com/quic-go/quic-go"},
		{"volumes", module + "/state"},
		{"configs", module + "/state"},
		{"configs", "github.com/goccy/go-yaml"},
		{"agent/migrate", module + "/state"},
		{"agent/api", module + "/agent/api/v1"},
		{"agent/route", "github.com/vishvananda/netlink"},
		{"agent", module + "/agent/pod"},
		{"cmd/drover", module + "/agent"},
		{"test/sim", module + "/agent/migrate/decide"},
		{"test/sim", module + "/agent/fence"},
		{"test/sim", "github.com/hashicorp/raft"},
	})
	require.Empty(t, reported)
}
