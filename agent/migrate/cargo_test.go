package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// Of an image any bit that is wrong, one too many or too few, keeps the pod from being restored of it.
func TestAlteredImageIsRefused(t *testing.T) {
	sent := bytes.Repeat([]byte("a page of memory "), 512)
	sum := sha256.Sum256(sent)
	manifest := Manifest{Images: []File{{Name: "redis/pages-1.img", Size: int64(len(sent)), Digest: state.Digest("sha256:" + hex.EncodeToString(sum[:]))}}}
	flipped := bytes.Clone(sent)
	flipped[4711] ^= 1
	for name, arrived := range map[string][]byte{
		"": sent, "a bit": flipped, "a byte too many": append(bytes.Clone(sent), 0), "a byte too few": sent[1:], "nothing": nil,
	} {
		w := newWorld(t)
		a := w.start("fra")
		x := a.arrivals.newArrival(Plan{}, decide.NewTarget(decide.Move{}))
		f, err := a.arrivals.image(x, "redis/pages-1.img", bytes.NewReader(arrived))
		require.NoError(t, err)
		x.cargo.addImage(f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err = x.cargo.wait(ctx, manifest)
		cancel()
		if name == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "image redis/pages-1.img arrived with", name)
		a.stop()
		a.arrivals.Close()
	}
}
