package structure

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// vague are package names that say nothing about what is inside.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "lib", "base"}

func checkPackageNames(tr tree) []string {
	problems := map[string]bool{}
	for _, src := range tr.sources() {
		for _, name := range []string{path.Base(src.dir), strings.TrimSuffix(src.Name.Name, "_test")} {
			if slices.Contains(vague, name) {
				problems[fmt.Sprintf("%s: %q says nothing about what is inside", src.dir, name)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(problems))
}

// checkPackageDocs wants one package doc a package, in whichever file. Generated packages document themselves.
func checkPackageDocs(tr tree) []string {
	type state struct {
		docs    []string
		written bool // holds a file that a person wrote
	}
	packages := map[string]*state{}
	var problems []string
	for _, src := range tr.sources() {
		if src.dir == "." || strings.HasSuffix(src.Name.Name, "_test") && src.test {
			continue
		}
		pkg := packages[src.dir]
		if pkg == nil {
			pkg = &state{}
			packages[src.dir] = pkg
		}
		pkg.written = pkg.written || !src.generated
		if src.Doc == nil || strings.TrimSpace(src.Doc.Text()) == "" {
			continue
		}
		pkg.docs = append(pkg.docs, path.Base(src.path))
		if want := "Package " + src.Name.Name + " "; src.Name.Name != "main" && !src.generated && !strings.HasPrefix(src.Doc.Text(), want) {
			problems = append(problems, fmt.Sprintf("%s: the package doc should begin with %q", src.path, want))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		switch pkg := packages[dir]; {
		case !pkg.written:
		case len(pkg.docs) == 0:
			problems = append(problems, dir+": no package doc")
		case len(pkg.docs) > 1:
			problems = append(problems, fmt.Sprintf("%s: %d package docs, in %s", dir, len(pkg.docs), strings.Join(pkg.docs, ", ")))
		}
	}
	return problems
}
