//go:build root

package volatile

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/durable"
)

func TestDurableFilesOutliveThePower(t *testing.T) {
	Losses{
		Random: 60, Seed: 1,
		Work: func(t *testing.T, dir string, promise func(string)) {
			for i := range 6 {
				require.NoError(t, durable.MkdirAll(filepath.Join(dir, fmt.Sprint("d", i/3), "in"), 0o700))
				path := filepath.Join(dir, fmt.Sprint("d", i/3), "in", "file")
				require.NoError(t, durable.WriteFile(path, fmt.Appendf(nil, "content %d", i), 0o600))
				promise(fmt.Sprint(i))
			}
			require.NoError(t, os.Remove(filepath.Join(dir, "d0", "in", "file")))
			require.NoError(t, durable.SyncDir(filepath.Join(dir, "d0", "in")))
			promise("removed")
		},
		Check: func(t *testing.T, dir string, promised []string) {
			for _, d := range []int{0, 1} {
				content, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("d", d), "in", "file"))
				had := len(promised) > 3*d
				switch {
				case d == 0 && len(promised) >= 6 && os.IsNotExist(err): // it is removed, or about to be
				case had || err == nil:
					require.NoError(t, err)
					var n int
					_, err := fmt.Sscanf(string(content), "content %d", &n)
					require.NoError(t, err, "%q", content)
					require.GreaterOrEqual(t, n, min(len(promised), 3*d+3)-1, "it is an older one")
					require.False(t, d == 0 && slices.Contains(promised, "removed"), "it is back")
				}
			}
		},
	}.Run(t)
}

// What the layer is for: it shows what an unsynced write, and an unsynced name, come to.
func TestUnsyncedFilesAreLost(t *testing.T) {
	for name, write := range map[string]func(path string, data []byte) error{
		"nothing is synced": func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) },
		"the rename is not": func(path string, data []byte) error {
			if err := durable.Create(path+".new", data, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			lost := 0
			Losses{
				Work: func(t *testing.T, dir string, promise func(string)) {
					require.NoError(t, write(filepath.Join(dir, "file"), []byte("content")))
					promise("file")
				},
				Check: func(t *testing.T, dir string, promised []string) {
					if _, err := os.Stat(filepath.Join(dir, "file")); os.IsNotExist(err) && len(promised) > 0 {
						lost++
					}
				},
			}.Run(t)
			require.Equal(t, len(FileSystems()), lost)
		})
	}
}
