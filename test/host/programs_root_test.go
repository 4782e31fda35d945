//go:build root && matrix

package host

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/programs"
	"github.com/drover-mesh/drover/test/workload"
)

// matrixVariable names a file that the results are written to, as JSON.
const matrixVariable = "DROVER_MATRIX"

// row is what became of a program.
type row struct {
	Program     string  `json:"program"`
	Version     string  `json:"version"`
	Moves       int     `json:"moves"`
	ClientGapMS float64 `json:"client_gap_ms"` // the longest of all moves
	Resets      int     `json:"resets"`
	StateOK     bool    `json:"state_ok"`
	Refused     string  `json:"refused"` // why preflight refused it; "" if it moved
}

// Programs that other people wrote run, are loaded by clients that other people wrote, move there and back, and are checked.
func TestPrograms(t *testing.T) {
	var rows []row
	for _, p := range programs.All() {
		t.Run(p.Name, func(t *testing.T) { rows = append(rows, movedTwice(t, p)) })
	}
	writeMatrix(t, rows)
}

func movedTwice(t *testing.T, p programs.Program) row {
	m := begin(t)
	image, err := workload.Image(t.Context(), func(line string) { t.Log(line) }, p.Packages...)
	require.NoError(t, err)
	for _, site := range []string{"ams", "fra"} {
		require.NoError(t, m.load(t.Context(), site, p.Name, image))
	}
	manifest, err := p.Manifest()
	require.NoError(t, err)
	pod := m.run(t, "ams", manifest)
	client := m.dialProgram(t, p, net.JoinHostPort(pod.Address, p.Port))
	beats := startBeats(client)
	defer beats.end()
	out := row{Program: p.Name, Version: version(t, image, p.Packages[0]), StateOK: true}
	for _, to := range []string{"fra", "ams"} {
		require.NoError(t, beats.await(5), "before the move to %s", to)
		beats.longest()
		_, err := m.migrate(t.Context(), t, "ams", p.Name, to)
		if p.Refused != "" {
			require.Equal(t, api.FailedPrecondition, api.AsError(err).Code, "%v", err)
			require.ErrorContains(t, err, p.Refused)
			out.Refused = err.Error()
			return out
		}
		require.NoError(t, err)
		assert.NoError(t, beats.await(5), "after the move to %s", to)
		out.Moves++
		out.ClientGapMS = max(out.ClientGapMS, api.Milliseconds(beats.longest()))
	}
	if err := beats.end(); !assert.NoError(t, err) {
		out.Resets, out.StateOK = 1, false
	}
	return out
}

// dialProgram connects from outside of the mesh, once the program is up.
func (m *mesh) dialProgram(t *testing.T, p programs.Program, address string) (client programs.Client) {
	t.Helper()
	dial := m.Dialer(lab.ClientSite)
	eventually(t, p.Name+" serves", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		client, err = p.Dial(ctx, programs.Dialer(dial), address)
		return err
	})
	return client
}

// version is that of a package in an image, as the first line of its changelog has it: "redis (5:7.0.15-1) ...".
func version(t *testing.T, image, name string) string {
	t.Helper()
	packed, err := workload.File(image, "./usr/share/doc/"+name+"/changelog.Debian.gz")
	require.NoError(t, err)
	log, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	line, err := bufio.NewReader(log).ReadString('\n')
	require.NoError(t, err)
	_, after, _ := strings.Cut(line, "(")
	v, _, _ := strings.Cut(after, ")")
	require.NotEmpty(t, v)
	return v
}

// writeMatrix prints the results, and writes them where it was asked to.
func writeMatrix(t *testing.T, rows []row) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROGRAM\tVERSION\tMOVES\tCLIENT WAITED\tRESETS\tSTATE\tREFUSED")
	for _, r := range rows {
		state := "ok"
		if !r.StateOK {
			state = "LOST"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f ms\t%d\t%s\t%s\n", r.Program, r.Version, r.Moves, r.ClientGapMS, r.Resets, state, r.Refused)
	}
	require.NoError(t, w.Flush())
	t.Logf("\n%s", table.String())
	path := os.Getenv(matrixVariable)
	if path == "" {
		return
	}
	text, err := json.MarshalIndent(rows, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, append(text, '\n'), 0o644))
}
