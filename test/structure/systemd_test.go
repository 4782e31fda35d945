package structure

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/stretchr/testify/require"
)

// unitWants is what the agent's unit must say, each with what breaks without it.
var unitWants = []struct{ section, name, value, why string }{
	{"Unit", "After", "network-online.target", "the agent would listen on addresses that aren't there yet"},
	{"Unit", "ConditionPathExists", "/etc/drover/agent.yaml", "a host that is in no mesh would have a failing unit"},
	{"Unit", "StartLimitIntervalSec", "0", "systemd would give up on an agent that can't reach its peers"},
	{"Service", "Type", "notify", "a start would count as done before the agent serves"},
	{"Service", "ExecStart", "/usr/bin/drover agent --config /etc/drover/agent.yaml", "the documentation says so"},
	{"Service", "KillMode", "process", "a stop of the agent would kill the pods"},
	{"Service", "Restart", "always", "a frozen pod would wait for ever"},
	{"Service", "RestartSec", "1", "a frozen pod would wait for long"},
	{"Service", "RestartPreventExitStatus", "2", "a wrong configuration would be tried every second"},
	{"Service", "OOMPolicy", "continue", "systemd would stop the agent when the kernel takes a CRIU"},
	{"Service", "OOMScoreAdjust", "-900", "the kernel would kill the agent before its pods"},
	{"Service", "LimitNOFILE", "1024:1048576", "CRIU could not open what a pod has open, or containers would have an unusual limit"},
	{"Service", "TasksMax", "infinity", "systemd would refuse the tasks of monitors and CRIU"},
	{"Service", "RuntimeDirectoryPreserve", "yes", "a restart would delete the sockets and images of a move"},
	{"Install", "WantedBy", "multi-user.target", "the agent would not start at boot"},
}

// hiding are settings that give the agent a mount namespace, in which the next agent can't see the pods' mounts.
var hiding = []string{"PrivateTmp", "PrivateMounts", "ProtectSystem", "ProtectHome", "PrivateDevices", "ReadOnlyPaths", "InaccessiblePaths", "RootDirectory"}

// inherited are settings that the containers would inherit from the agent.
var inherited = []string{"NoNewPrivileges", "SystemCallFilter", "SystemCallArchitectures", "CapabilityBoundingSet", "MemoryDenyWriteExecute",
	"RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "ProtectClock", "ProtectHostname", "ProtectKernelModules", "UMask"}

// checkUnit reports what is wrong with the text of the agent's unit.
func checkUnit(text string) []string {
	options, err := unit.DeserializeOptions(strings.NewReader(text))
	if err != nil {
		return []string{fmt.Sprintf("not a unit: %v", err)}
	}
	var problems []string
	for _, want := range unitWants {
		values := []string{}
		for _, o := range options {
			if o.Section == want.section && o.Name == want.name {
				values = append(values, strings.Fields(o.Value)...)
			}
		}
		if got := strings.Join(values, " "); got != want.value && !(want.name == "After" && slices.Contains(values, want.value)) {
			problems = append(problems, fmt.Sprintf("[%s] %s=%s, want %s: else %s", want.section, want.name, got, want.value, want.why))
		}
	}
	for _, o := range options {
		if slices.Contains(hiding, o.Name) {
			problems = append(problems, fmt.Sprintf("%s= hides the pods' mounts from the next agent", o.Name))
		}
		if slices.Contains(inherited, o.Name) {
			problems = append(problems, fmt.Sprintf("%s= is inherited by the pods", o.Name))
		}
	}
	return problems
}

func agentUnit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository(t).root, "configs/systemd/drover-agent.service"))
	require.NoError(t, err)
	return string(text)
}

func TestUnitOfTheAgent(t *testing.T) {
	require.Empty(t, checkUnit(agentUnit(t)))
}

func TestUnitCheckCanFail(t *testing.T) {
	good := agentUnit(t)
	for _, want := range unitWants {
		t.Run(want.name, func(t *testing.T) {
			lines := slices.DeleteFunc(strings.Split(good, "\n"), func(line string) bool { return strings.HasPrefix(line, want.name+"=") })
			require.Contains(t, strings.Join(checkUnit(strings.Join(lines, "\n")), "\n"), want.name+"=", "without the line")
			other := strings.Replace(good, "\n"+want.name+"=", "\n"+want.name+"=other", 1)
			require.NotEmpty(t, checkUnit(other), "with another value")
		})
	}
	for _, name := range slices.Concat(hiding, inherited) {
		require.NotEmpty(t, checkUnit(strings.Replace(good, "[Service]\n", "[Service]\n"+name+"=yes\n", 1)), name)
	}
	require.NotEmpty(t, checkUnit("no unit at all"))
}
