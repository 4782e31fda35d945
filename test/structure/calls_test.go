package structure

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// uses reports each mention of a name of an imported package that bad says is bad, as "importpath.Name".
func uses(src source, bad func(importPath, name string) bool) []string {
	imported := map[string]string{}
	for _, spec := range src.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(importPath)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = importPath
	}
	var found []string
	ast.Inspect(src.File, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && imported[x.Name] != "" && bad(imported[x.Name], selector.Sel.Name) {
			found = append(found, path.Base(imported[x.Name])+"."+selector.Sel.Name)
		}
		return true
	})
	return found
}

// checkGlobalLoggers finds what writes to the process's own loggers: only a command may, everyone else is given one.
func checkGlobalLoggers(tr tree) []string {
	global := map[string]bool{
		"Default": true, "SetDefault": true, "Debug": true, "Info": true, "Warn": true, "Error": true, "Log": true, "LogAttrs": true, "With": true,
		"DebugContext": true, "InfoContext": true, "WarnContext": true, "ErrorContext": true,
	}
	var problems []string
	for _, src := range tr.sources() {
		if strings.HasPrefix(src.dir, "cmd/") {
			continue
		}
		for _, use := range uses(src, func(importPath, name string) bool {
			switch importPath {
			case "log/slog":
				return global[name]
			case "log":
				return name == "Default" || strings.HasPrefix(name, "Print") || strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")
			}
			return false
		}) {
			problems = append(problems, fmt.Sprintf("%s: %s writes to the process's logger; take a *slog.Logger", src.path, use))
		}
	}
	return problems
}

// checkSleepingTests finds tests that wait for time to pass instead of for what they need. In a bubble of testing/synctest
// time is virtual, and sleeping is how a test says when.
func checkSleepingTests(tr tree) []string {
	var problems []string
	for _, src := range tr.sources() {
		bubble := slices.ContainsFunc(src.Imports, func(spec *ast.ImportSpec) bool { return spec.Path.Value == `"testing/synctest"` })
		if !src.test || bubble {
			continue
		}
		for range uses(src, func(importPath, name string) bool { return importPath == "time" && name == "Sleep" }) {
			problems = append(problems, src.path+": time.Sleep in a test; wait for the event")
		}
	}
	return problems
}

// checkSkippedTests finds tests that may not run: one that needs something of the host fails and says what.
func checkSkippedTests(tr tree) []string {
	var problems []string
	for _, src := range tr.sources() {
		if !src.test {
			continue
		}
		ast.Inspect(src.File, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := selector.X.(*ast.Ident)
			if ok && (x.Name == "t" || x.Name == "b") && strings.HasPrefix(selector.Sel.Name, "Skip") {
				problems = append(problems, fmt.Sprintf("%s: %s.%s; fail with the cure instead", src.path, x.Name, selector.Sel.Name))
			}
			return true
		})
	}
	return problems
}
