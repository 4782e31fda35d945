package volumes

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// manyFiles makes n files of the given size, a hundred in each directory.
func manyFiles(b *testing.B, n, size int) string {
	b.Helper()
	root := b.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, size)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("dir-%03d", i/100))
		require.NoError(b, os.MkdirAll(dir, 0o755))
		_, _ = random.Read(content)
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%05d", i)), content, 0o644))
	}
	settle(b)
	return root
}

// BenchmarkPackUnchanged is the round under the freeze when nothing was written since the last one.
func BenchmarkPackUnchanged(b *testing.B) {
	root := manyFiles(b, 10_000, 100)
	known, _, err := Pack(b.Context(), io.Discard, root, Manifest{}, nil)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		var stats Stats
		known, stats, err = Pack(b.Context(), io.Discard, root, known, nil)
		if err != nil || stats.Shipped != 0 {
			b.Fatal(stats, err)
		}
	}
}

func BenchmarkPackAll(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("files of %d KiB", size>>10), func(b *testing.B) {
			root := manyFiles(b, max(1, 128<<20/size/8), size)
			b.SetBytes(int64(max(1, 128<<20/size/8) * size))
			for b.Loop() {
				if _, _, err := Pack(b.Context(), io.Discard, root, Manifest{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkApplyAll(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("files of %d KiB", size>>10), func(b *testing.B) {
			root := manyFiles(b, max(1, 128<<20/size/8), size)
			var wire bytes.Buffer
			_, _, err := Pack(b.Context(), &wire, root, Manifest{}, nil)
			require.NoError(b, err)
			b.SetBytes(int64(max(1, 128<<20/size/8) * size))
			to := b.TempDir()
			for b.Loop() {
				if err := Apply(b.Context(), bytes.NewReader(wire.Bytes()), to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
