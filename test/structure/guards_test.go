package structure

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// guards are the rules of the tree. check reports each breach as "path: what is wrong"; broken are trees that it must
// report, each with a part of the report.
var guards = []struct {
	name   string
	check  func(tree) []string
	broken []breach
}{
	{"imports", checkImports, importBreaches},
	{"top level", checkTopLevel, []breach{
		{"util.go:", map[string]string{"util.go": "package drover\n"}},
		{"scripts:", map[string]string{"scripts/x.sh": "true\n", "README.md": ""}},
	}},
	{"package names", checkPackageNames, []breach{
		{"agent/util:", map[string]string{"agent/util/x.go": "package util\n"}},
		{"state/helpers:", map[string]string{"state/helpers/x.go": "package state\n"}},
		{"common", map[string]string{"state/x.go": "package common\n"}},
	}},
	{"package docs", checkPackageDocs, []breach{
		{"no package doc", map[string]string{"state/x.go": "package state\n"}},
		{"2 package docs", map[string]string{
			"state/x.go": "// Package state is.\npackage state\n", "state/y.go": "// Package state is, too.\npackage state\n",
		}},
		{"begin with", map[string]string{"state/x.go": "// This is the state.\npackage state\n"}},
		{"no package doc", map[string]string{"state/x.go": "//go:build linux\n\npackage state\n"}},
	}},
	{"file length", checkFileLength, []breach{
		{"601 lines", map[string]string{"state/x.go": "package state\n" + strings.Repeat("\n", 600)}},
	}},
	{"foreign paths", checkForeignPaths, []breach{
		{"state/x.go:2", map[string]string{"state/x.go": "package state\n// see /wor" + "k/main\n"}},
		{"docs/a.md:1", map[string]string{"docs/a.md": "as in /tmp/BR" + "IEF.md\n"}},
		{"names no file", map[string]string{"state/x.go": "package state // see PLAT" + "FORM.md\n"}},
	}},
	{"links", checkLinks, []breach{
		{"docs/a.md: b.md leads to no file", map[string]string{"docs/a.md": "see [b](b.md)\n"}},
		{"README.md: docs/a.md#there leads to no heading", map[string]string{"README.md": "[a](docs/a.md#there)", "docs/a.md": "## Here\n"}},
		{"docs/a.md: #if leads to no heading", map[string]string{"docs/a.md": "[x](#if)\n```\n# if\n```\n"}},
	}},
	{"global loggers", checkGlobalLoggers, []breach{
		{"slog.Info", map[string]string{"agent/x.go": "package agent\nimport \"log/slog\"\nfunc f() { slog.Info(\"x\") }\n"}},
		{"slog.Default", map[string]string{"agent/x.go": "package agent\nimport l \"log/slog\"\nvar x = l.Default()\n"}},
		{"log.Fatal", map[string]string{"state/x.go": "package state\nimport \"log\"\nfunc f() { log.Fatal(1) }\n"}},
	}},
	{"sleeping tests", checkSleepingTests, []breach{
		{"time.Sleep", map[string]string{"state/x_test.go": "package state\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"}},
	}},
	{"skipped tests", checkSkippedTests, []breach{
		{"t.Skip", map[string]string{"state/x_test.go": "package state\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Skip() }\n"}},
	}},
}

// breach is a tree that breaks a guard, and what its report must contain.
type breach struct {
	report string
	files  map[string]string
}

func TestTreeKeepsItsRules(t *testing.T) {
	tr := repository(t)
	for _, guard := range guards {
		t.Run(guard.name, func(t *testing.T) {
			for _, problem := range guard.check(tr) {
				t.Error(problem)
			}
		})
	}
}

func TestGuardsCanFail(t *testing.T) {
	for _, guard := range guards {
		t.Run(guard.name, func(t *testing.T) {
			require.NotEmpty(t, guard.broken, "a guard without a proof that it can fail")
			for _, b := range guard.broken {
				require.Contains(t, strings.Join(guard.check(plant(t, b.files)), "\n"), b.report, "tree: %v", b.files)
			}
		})
	}
}

// A guard that finds fault with everything would pass TestGuardsCanFail too.
func TestGuardsPassAGoodTree(t *testing.T) {
	good := plant(t, map[string]string{
		"go.mod":               "module " + module + "\n",
		"state/state.go":       "// Package state is the vocabulary.\npackage state\n\nimport \"net/netip\"\n\nvar _ netip.Addr\n",
		"agent/pod/pod.go":     "// Package pod runs pods.\npackage pod\n\nimport \"" + module + "/state\"\n",
		"agent/pod/x_test.go":  "package pod_test\n\nimport (\n\t\"" + module + "/agent/pod\"\n\t\"github.com/stretchr/testify/require\"\n)\n",
		"cmd/drover/drover.go": "// Command drover moves pods.\npackage main\n\nimport \"log\"\n\nfunc main() { log.Print() }\n",
	})
	for _, guard := range guards {
		t.Run(guard.name, func(t *testing.T) {
			require.Empty(t, guard.check(good))
		})
	}
}
