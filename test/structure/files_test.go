package structure

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLines is the length from which a file surely holds more than one idea.
const maxLines = 600

// topLevel is what may lie in the root of the repository, besides files whose name begins with a dot.
var topLevel = []string{
	"agent", "cmd", "configs", "docs", "durable", "state", "test", "transport", "volumes",
	"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum",
}

func checkTopLevel(tr tree) []string {
	strangers := map[string]bool{}
	for _, file := range tr.files {
		entry, _, _ := strings.Cut(file, "/")
		if !strings.HasPrefix(entry, ".") && !slices.Contains(topLevel, entry) {
			strangers[entry] = true
		}
	}
	var problems []string
	for _, entry := range slices.Sorted(maps.Keys(strangers)) {
		problems = append(problems, entry+": has no place in the root of the repository")
	}
	return problems
}

func checkFileLength(tr tree) []string {
	var problems []string
	for _, src := range tr.sources() {
		if src.lines > maxLines && !src.generated {
			problems = append(problems, fmt.Sprintf("%s: %d lines, more than %d: it holds more than one idea", src.path, src.lines, maxLines))
		}
	}
	return problems
}

// foreignPaths are words that mean something only on the machine or to the people that wrote the file. (They are put
// together here so that this file doesn't hold them.)
var foreignPaths = regexp.MustCompile(`(^|[\s"'` + "`" + `(=:])/work` + `/|/tmp/(BR` + `IEF|dep/|drover-[a-z]/)|\.\./shared` + `/|/root/(go|\.cache)/|\b[Hh]elper [A-Z]\b`)

// references are mentions of a document of ours by its name.
var references = regexp.MustCompile(`\b[A-Z][A-Z_]+\.md\b`)

func checkForeignPaths(tr tree) []string {
	documents := map[string]bool{}
	for _, file := range tr.files {
		documents[path.Base(file)] = true
	}
	var problems []string
	for _, file := range tr.files {
		content := tr.read(file)
		if bytes.IndexByte(content, 0) >= 0 {
			continue // not text
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, len(content)+1)
		for n := 1; lines.Scan(); n++ {
			if word := foreignPaths.FindString(lines.Text()); word != "" {
				problems = append(problems, fmt.Sprintf("%s:%d: %q means nothing to a reader elsewhere", file, n, word))
			}
			for _, name := range references.FindAllString(lines.Text(), -1) {
				if strings.HasSuffix(file, ".go") && !strings.HasPrefix(file, "test/structure/") && !documents[name] {
					problems = append(problems, fmt.Sprintf("%s:%d: %s names no file of this repository", file, n, name))
				}
			}
		}
	}
	return problems
}
