package structure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// anything stands for third-party packages without limit.
var anything = []string{""}

// importRule says what the packages of a directory may import besides the standard library, themselves, and testify
// in tests. A part "*" of dir stands for any name.
type importRule struct {
	dir        string
	only       bool     // the rule is for dir itself, not for what lies below it
	module     []string // packages of this module, each with all below it; a trailing "$" leaves out those below
	thirdParty []string // prefixes
}

// importRules is the table of docs/ARCHITECTURE.md. The first rule that fits a directory holds.
var importRules = []importRule{
	{dir: "durable"},
	{dir: "state", only: true},
	{dir: "state/quorum", module: []string{"state$"}, thirdParty: []string{"github.com/hashicorp/", "github.com/anishathalye/porcupine"}},
	{dir: "transport/wire"},
	{dir: "transport", module: []string{"durable", "state$", "transport/wire"}, thirdParty: anything},
	{dir: "volumes", module: []string{"durable", "state$"}, thirdParty: anything},
	{dir: "configs", module: []string{"state$"}, thirdParty: []string{"github.com/goccy/go-yaml", "sigs.k8s.io/yaml"}},
	{dir: "agent/migrate/decide", module: []string{"state$"}},
	{dir: "agent/migrate", module: []string{"durable", "state$"}},
	{dir: "agent/*", module: []string{"durable", "state$"}, thirdParty: anything},
	{dir: "agent", only: true, module: []string{"agent", "configs", "durable", "state", "transport", "volumes"}, thirdParty: anything},
	{dir: "cmd/*", module: []string{"agent", "configs", "durable", "state", "test", "transport", "volumes"}, thirdParty: anything},
	{dir: "test/sim", module: []string{"state$", "agent/fence", "agent/migrate/decide"}, thirdParty: []string{"github.com/hashicorp/raft"}},
	{dir: "test", module: []string{"agent", "configs", "durable", "state", "test", "transport", "volumes"}, thirdParty: anything},
}

// fit gives the part of dir that the rule's dir covers, "" if the rule isn't for dir.
func (r importRule) fit(dir string) string {
	want, have := strings.Split(r.dir, "/"), strings.Split(dir, "/")
	if len(have) < len(want) || r.only && len(have) > len(want) {
		return ""
	}
	for i, part := range want {
		if part != "*" && part != have[i] {
			return ""
		}
	}
	return strings.Join(have[:len(want)], "/")
}

// allows tells whether a package whose own directory is own may import path.
func (r importRule) allows(own, path string, test bool) bool {
	local, isLocal := strings.CutPrefix(path, module+"/")
	switch {
	case test && (local == "test/isolation" || local == "test/volatile"): // what a test runs on, whatever it tests
		return true
	case isLocal:
		return local == own || !r.only && strings.HasPrefix(local, own+"/") || slices.ContainsFunc(r.module, func(m string) bool {
			exact, only := strings.CutSuffix(m, "$")
			return local == exact || !only && strings.HasPrefix(local, m+"/")
		})
	case !strings.Contains(strings.Split(path, "/")[0], "."):
		return true // standard library
	case test && strings.HasPrefix(path, "github.com/stretchr/testify"):
		return true
	}
	return slices.ContainsFunc(r.thirdParty, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

func checkImports(tr tree) []string {
	var problems []string
	for _, src := range tr.sources() {
		if src.dir == "." {
			continue // the top level's guard has its say
		}
		i := slices.IndexFunc(importRules, func(r importRule) bool { return r.fit(src.dir) != "" })
		if i < 0 {
			problems = append(problems, fmt.Sprintf("%s: no rule says what %s may import", src.path, src.dir))
			continue
		}
		rule := importRules[i]
		for _, spec := range src.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil || !rule.allows(rule.fit(src.dir), path, src.test) {
				problems = append(problems, fmt.Sprintf("%s: %s may not import %s", src.path, src.dir, path))
			}
		}
	}
	return problems
}

// importViolations has, for each row of the table, imports that it forbids. The linter's rules are proven with them too.
var importViolations = []imports{
	{"durable", module + "/state"},
	{"durable", "github.com/hashicorp/raft"},
	{"state", module + "/transport/wire"},
	{"state", module + "/state/quorum"},
	{"state", "github.com/hashicorp/raft"},
	{"state/quorum", module + "/transport"},
	{"state/quorum", "github.com/vishvananda/netlink"},
	{"transport/wire", module + "/state"},
	{"transport/wire", module + "/transport"},
	{"transport/wire", "github.com/hashicorp/raft"},
	{"transport", module + "/state/quorum"},
	{"transport", module + "/volumes"},
	{"transport", module + "/agent"},
	{"volumes", module + "/state/quorum"},
	{"volumes", module + "/transport/wire"},
	{"configs", module + "/agent"},
	{"configs", "github.com/hashicorp/raft"},
	{"agent/migrate", module + "/volumes"},
	{"agent/migrate", module + "/agent/pod"},
	{"agent/migrate", "golang.org/x/sync/errgroup"},
	{"agent/migrate/decide", module + "/agent/migrate"},
	{"agent/migrate/decide", "golang.org/x/sync/errgroup"},
	{"agent", module + "/cmd/drover"},
	{"agent", module + "/test/lab"},
	{"agent/api", module + "/agent/pod"},
	{"agent/criu", module + "/agent/pod"},
	{"agent/criu/images", module + "/agent"},
	{"agent/doctor", module + "/agent/criu"},
	{"agent/drill", module + "/transport"},
	{"agent/fence", module + "/agent/pod"},
	{"agent/gossip", module + "/state/quorum"},
	{"agent/pod", module + "/agent/criu"},
	{"agent/pod", module + "/configs"},
	{"agent/route", module + "/agent/pod"},
	{"test/sim", module + "/agent/migrate"},
	{"test/sim", module + "/state/quorum"},
	{"test/sim", "github.com/vishvananda/netlink"},
}

var importBreaches = func() []breach {
	var all []breach
	for _, v := range importViolations {
		all = append(all, breach{v.dir + " may not import " + v.path, map[string]string{v.dir + "/x.go": "package x\n\nimport _ \"" + v.path + "\"\n"}})
	}
	return append(all,
		breach{"no rule", map[string]string{"pkg/x.go": "package pkg\n"}},
		breach{"may not import", map[string]string{"test/sim/x.go": "package sim\n\nimport _ \"" + module + "/cmd/drover\"\n"}},
		breach{"may not import", map[string]string{"state/x.go": "package state\n\nimport _ \"github.com/stretchr/testify/require\"\n"}},
	)
}()
