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

// partners are the other programs that the agent starts.
var partners = []struct {
	name, why string
	oldest    [2]int // that pods were run with
	missing   Level  // what it means if there is none
}{
	{"runc", "it makes, restores and kills the containers", [2]int{1, 1}, Fail},
	{"conmon", "it holds the containers' stdio and exit codes while the agent restarts", [2]int{2, 1}, Fail},
	{"nsenter", "a command that is run in a moved pod enters the pod's clocks by it", [2]int{2, 36}, Warn},
}

func checkRuntime(ctx context.Context, host Host, cfg Config) []Finding {
	var findings []Finding
	for _, p := range partners {
		f := Finding{Check: p.name, Level: OK, Why: p.why}
		out, err := host.Run(ctx, p.name, "--version")
		switch version := versionNumber.FindString(out); {
		case errors.Is(err, exec.ErrNotFound):
			f.Level, f.Found, f.Cure = p.missing, "not installed", cfg.Installer
		case err != nil || version == "":
			f.Level, f.Found, f.Cure = p.missing, p.name+" --version: "+brief(out, err), cfg.Installer
		case !atLeast(version, p.oldest):
			f.Level, f.Cure = Warn, cfg.Installer
			f.Found = fmt.Sprintf("%s, older than %d.%d", version, p.oldest[0], p.oldest[1])
		default:
			f.Found = version
		}
		findings = append(findings, f)
		if p.name == "runc" && err == nil {
			findings = append(findings, checkSeccomp(out))
		}
	}
	return findings
}

// checkSeccomp looks at what runc says it was built with.
func checkSeccomp(runc string) Finding {
	f := Finding{Check: "seccomp", Level: OK, Why: "pods may use only the system calls that a container needs"}
	_, after, ok := strings.Cut(runc, "libseccomp:")
	if version := versionNumber.FindString(after); ok && version != "" {
		f.Found = "libseccomp " + version
		return f
	}
	f.Level, f.Found = Fail, "this runc was built without it"
	f.Cure = "install the distribution's runc, or build it with -tags seccomp"
	return f
}

// checkSystemd matters only if systemd is to make control groups; else it may be any version, or none.
func checkSystemd(ctx context.Context, host Host, cfg Config) []Finding {
	f := Finding{Check: "systemd", Level: OK, Why: "it starts the agent; the configuration may let it make the control groups of pods"}
	out, err := host.Run(ctx, "systemctl", "--version")
	first, initErr := host.Read("/proc/1/comm")
	version, _, _ := strings.Cut(out, "\n")
	switch {
	case err != nil || initErr != nil || first != "systemd":
		f.Found = "not running"
		if cfg.Systemd {
			f.Level, f.Found = Fail, "not running, and cgroupDriver is systemd"
			f.Cure = "set cgroupDriver: cgroupfs in the agent's configuration"
		}
	default:
		f.Found = strings.TrimPrefix(strings.TrimSpace(version), "systemd ")
	}
	return []Finding{f}
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
