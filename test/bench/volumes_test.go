package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/volumes"
)

const files = 10_000

// BenchmarkUnchangedRound looks for changes in a writable layer of 10,000 files where there are none, as happens
// under the freeze: Pack against GNU tar's incremental archive.
func BenchmarkUnchangedRound(b *testing.B) {
	upper := b.TempDir()
	for i := range files {
		dir := filepath.Join(upper, fmt.Sprint("dir", i/100))
		require.NoError(b, os.MkdirAll(dir, 0o755))
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("some content"), 0o644))
	}
	ctx := context.Background()
	known, stats, err := volumes.Pack(ctx, io.Discard, upper, volumes.Manifest{}, nil)
	require.NoError(b, err)
	for stats.Shipped > 0 { // what was written a moment before a round is shipped once more by the next
		known, stats, err = volumes.Pack(ctx, io.Discard, upper, known, nil)
		require.NoError(b, err)
	}

	snapshot := filepath.Join(b.TempDir(), "snapshot")
	incremental := func() error {
		// Its archive goes through a pipe: tar reads no file when it writes to /dev/null.
		cmd := exec.Command("tar", "--listed-incremental="+snapshot, "-C", upper, "-c", ".")
		cmd.Stdout = struct{ io.Writer }{io.Discard}
		return cmd.Run()
	}
	require.NoError(b, incremental())
	turns(b, func() error {
		_, stats, err := volumes.Pack(ctx, io.Discard, upper, known, nil)
		if err == nil && stats.Shipped != 0 {
			return fmt.Errorf("%d files were shipped", stats.Shipped)
		}
		return err
	}, incremental)
}
