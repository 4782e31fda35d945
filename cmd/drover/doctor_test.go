package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/doctor"
)

var sickHost = doctor.Report{Findings: []doctor.Finding{
	{Check: "runc", Level: doctor.OK, Found: "1.1.5", Why: "it makes the containers"},
	{Check: "clock", Level: doctor.Warn, Found: "nothing synchronises it", Why: "leases compare clocks", Cure: "apt-get install chrony"},
	{Check: "criu", Level: doctor.Fail, Found: "not installed", Why: "it dumps pods", Cure: "make deps"},
}}

func TestDoctorReportsInTextWorstFirst(t *testing.T) {
	var out bytes.Buffer
	err := presentReport(&out, sickHost, "table")
	require.ErrorContains(t, err, "no pod can move to this host: 1 of 3 checks fail")
	require.Equal(t, exitRefused, exitCode(err))
	require.Equal(t, `CHECK   LEVEL   FOUND
runc    ok      1.1.5
clock   warn    nothing synchronises it
criu    fail    not installed

fail criu: it dumps pods
  make deps

warn clock: leases compare clocks
  apt-get install chrony

1 ok, 1 warn, 1 fail
`, out.String())
}

func TestDoctorNamesTheInstallerThatIsThere(t *testing.T) {
	script := filepath.Join(t.TempDir(), "deps.sh")
	require.Equal(t, "make deps", installer(script))
	require.NoError(t, os.WriteFile(script, nil, 0o755))
	require.Equal(t, script+" pods", installer(script))
}

func TestDoctorReportsJSONAlone(t *testing.T) {
	var out bytes.Buffer
	require.Error(t, presentReport(&out, sickHost, "json"))
	var report doctor.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &report))
	require.Equal(t, sickHost, report)

	out.Reset()
	require.NoError(t, presentReport(&out, doctor.Report{Ready: true, Findings: sickHost.Findings[:2]}, "json"))
}

func TestDoctorReportsAFullDisk(t *testing.T) {
	for _, output := range []string{"table", "json", "yaml"} {
		require.ErrorContains(t, presentReport(fullDisk{}, sickHost, output), "writing the report")
	}
}

// fullDisk refuses every write.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestDoctorRefusesBadFlags(t *testing.T) {
	for _, args := range [][]string{{"--output", "xml"}, {"extra"}, {"--cure"}} {
		var out, complaint bytes.Buffer
		c := &cli{out: &out, err: &complaint}
		require.Equal(t, exitUsage, c.run(t.Context(), append([]string{"doctor"}, args...)), "%v", args)
		require.Empty(t, out.String(), "%v", args)
		require.NotEmpty(t, complaint.String(), "%v", args)
	}
	var complaint bytes.Buffer
	c := &cli{out: io.Discard, err: &complaint}
	require.NotZero(t, c.run(t.Context(), []string{"doctor", "--config", "/nonexistent/agent.yaml"}))
	require.Contains(t, complaint.String(), "/nonexistent/agent.yaml")
}
