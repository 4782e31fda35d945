//go:build root

package volumes

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadTakesWhatOtherToolsWrote(t *testing.T) {
	needRoot(t) // to whom the files in it belong
	// Made by umoci 0.4.7 (three layers: the second has whiteouts, the third a file in a directory that it doesn't
	// describe) and written by skopeo 1.9.3.
	for _, file := range []string{"testdata/greeter-oci.tar", "testdata/greeter-docker.tar.gz"} {
		t.Run(file, func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			s := newStore(t)
			images, err := s.Load(t.Context(), LoadOptions{Platform: "linux/amd64"}, bytes.NewReader(content))
			require.NoError(t, err)
			require.Equal(t, "example.org/greeter:3", images[0].Name)
			require.EqualValues(t, "sha256:5bf486abdb1449c5cbfa6a15683e362a5b74699ca15fd01b228688ab386d0a97", images[0].Digest)
			require.Len(t, images[0].Layers, 3)
			require.JSONEq(t, `{"User":"1000:1000","Env":["GREETING=hello"],"Entrypoint":["/bin/greet"],"Cmd":["now"],
				"WorkingDir":"/tmp","StopSignal":"SIGUSR1"}`, string(images[0].Config))
			require.Equal(t, 2026, images[0].Created.Year())
			notes, err := s.readNotes(images[0].Layers[2])
			require.NoError(t, err)
			require.Equal(t, []string{".", "tmp"}, notes.Implied)
		})
	}
}

func TestAFullDiskKeepsNothingOfAnImage(t *testing.T) {
	needRoot(t)
	file := tarDir(t, layoutOf(t, map[string]any{"x:1": imageOf(t, sampleTar(t), tarOf(t, regular("noise", string(noise(3<<20)))))}))
	for _, limit := range []string{"size=2m", "size=5m", "size=9m", "nr_inodes=30"} { // in the archive, in a layer, in its copy
		t.Run(limit, func(t *testing.T) {
			s, err := OpenStore(smallDisk(t, limit))
			require.NoError(t, err)
			_, err = s.Load(t.Context(), LoadOptions{}, bytes.NewReader(file))
			require.ErrorIs(t, err, ErrFull)
			require.ErrorContains(t, err, "free some")
			requireEmpty(t, s)
		})
	}
}
