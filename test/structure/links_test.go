package structure

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	// links are Markdown's inline links: [text](target).
	links    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	blocks   = regexp.MustCompile("(?ms)^```.*?^```") // of code
	spans    = regexp.MustCompile("`[^`\n]*`")
	headings = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	// unslugged is what GitHub leaves out of a heading's anchor.
	unslugged = regexp.MustCompile(`[^\pL\pN _-]`)
)

// checkLinks finds links of the documentation to files that aren't there, and to headings that no page has.
func checkLinks(tr tree) []string {
	var problems []string
	for _, file := range tr.files {
		if path.Ext(file) != ".md" {
			continue
		}
		for _, link := range links.FindAllSubmatch(spans.ReplaceAll(blocks.ReplaceAll(tr.read(file), nil), nil), -1) {
			target, anchor, _ := strings.Cut(string(link[1]), "#")
			if strings.Contains(target, ":") {
				continue // elsewhere
			}
			to := file
			if target != "" {
				to = path.Join(path.Dir(file), target)
			}
			if !tr.has(to) {
				problems = append(problems, fmt.Sprintf("%s: %s leads to no file", file, link[1]))
			} else if anchor != "" && !slices.Contains(anchors(tr.read(to)), anchor) {
				problems = append(problems, fmt.Sprintf("%s: %s leads to no heading", file, link[1]))
			}
		}
	}
	return problems
}

// has says whether there is such a file or directory.
func (tr tree) has(name string) bool {
	return slices.ContainsFunc(tr.files, func(f string) bool { return f == name || strings.HasPrefix(f, name+"/") })
}

// anchors are the names by which a page's headings can be linked to.
func anchors(page []byte) []string {
	var all []string
	for _, h := range headings.FindAllSubmatch(blocks.ReplaceAll(page, nil), -1) {
		all = append(all, strings.ReplaceAll(unslugged.ReplaceAllString(strings.ToLower(string(h[1])), ""), " ", "-"))
	}
	return all
}
