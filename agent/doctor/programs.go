package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// oldestCRIU is the first CRIU that pods were moved with.
var oldestCRIU = [2]int{4, 1}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

func checkCRIU(ctx context.Context, host Host, cfg Config) []Finding {
	const why = "it dumps and restores pods"
	out, err := host.Run(ctx, "criu", "--version")
	if errors.Is(err, exec.ErrNotFound) {
		return []Finding{{Check: "criu", Level: Fail, Found: "not installed", Why: why, Cure: cfg.Installer}}
	}
	version := versionNumber.FindString(out)
	if version == "" {
		return []Finding{{Check: "criu", Level: Fail, Found: "criu --version: " + brief(out, err), Why: why, Cure: cfg.Installer}}
	}
	if !atLeast(version, oldestCRIU) {
		found := fmt.Sprintf("%s, older than %d.%d", version, oldestCRIU[0], oldestCRIU[1])
		return []Finding{{Check: "criu", Level: Fail, Found: found, Why: why, Cure: cfg.Installer}}
	}
	if out, err := host.Run(ctx, "criu", "check"); err != nil {
		return []Finding{{
			Check: "criu", Level: Fail, Found: version + ", but criu check fails: " + brief(out, err), Why: why,
			Cure: "criu check --all # shows what this kernel lacks; boot one that has it",
		}}
	}
	return []Finding{{Check: "criu", Level: OK, Found: version + ", criu check passes", Why: why}}
}

func checkRuntime(ctx context.Context, host Host, cfg Config) []Finding {
	var findings []Finding
	for _, p := range []struct{ name, why string }{
		{"runc", "it makes, restores and kills the containers"},
		{"conmon", "it holds the containers' stdio and exit codes while the agent restarts"},
	} {
		f := Finding{Check: p.name, Level: OK, Why: p.why}
		out, err := host.Run(ctx, p.name, "--version")
		switch version := versionNumber.FindString(out); {
		case errors.Is(err, exec.ErrNotFound):
			f.Level, f.Found, f.Cure = Fail, "not installed", cfg.Installer
		case err != nil || version == "":
			f.Level, f.Found, f.Cure = Fail, p.name+" --version: "+brief(out, err), cfg.Installer
		default:
			f.Found = version
		}
		findings = append(findings, f)
	}
	return findings
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, oldest [2]int) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > oldest[0] || a == oldest[0] && b >= oldest[1])
}

// brief is the line of a program's output that says most, the first with an error, or the error itself.
func brief(out string, err error) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if strings.Contains(line, "Error") {
			return strings.TrimSpace(line)
		}
	}
	if lines[0] == "" && err != nil {
		return err.Error()
	}
	return strings.TrimSpace(lines[0])
}
