package workload

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/drover-mesh/drover/test/workload/clocks"
)

// Metronome is a pod that watches clocks and timers, and answers on port 7000 with what it saw. Its image is called
// metronome.
//
//go:embed metronome.yaml
var Metronome []byte

// MetronomePort is where the metronome answers.
const MetronomePort = "7000"

// MetronomeImage builds the metronome from the module that the working directory is in, and returns the tar of a root file
// system that holds it alone. dir is where both are put.
func MetronomeImage(ctx context.Context, dir string) (path string, err error) {
	binary := filepath.Join(dir, "metronome")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/drover-mesh/drover/test/workload/metronome")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the metronome: %w: %s", err, lastLines(string(out), 5))
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "metronome", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return "", err
	}
	if _, err := w.Write(program); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	path = binary + ".tar"
	return path, os.WriteFile(path, archive.Bytes(), 0o600)
}

// AskMetronome returns what the metronome at an address saw since it was last asked.
func AskMetronome(ctx context.Context, dial Dialer, address string) (clocks.Report, error) {
	var report clocks.Report
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return report, fmt.Errorf("asking the metronome: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return report, err
		}
	}
	text, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		return report, fmt.Errorf("asking the metronome: %w", err)
	}
	return report, nil
}
