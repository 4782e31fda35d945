package criu

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// imageOf builds an image of open files: one that is no timer, and a timer with each of the flags.
func imageOf(settimeFlags ...uint64) []byte {
	image := binary.LittleEndian.AppendUint32(nil, commonMagic)
	image = binary.LittleEndian.AppendUint32(image, filesMagic)
	add := func(entry []byte) {
		image = binary.LittleEndian.AppendUint32(image, uint32(len(entry)))
		image = append(image, entry...)
	}
	varint := func(b []byte, field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
	}
	other := varint(nil, 1, 6)
	add(protowire.AppendBytes(protowire.AppendTag(other, 3, protowire.BytesType), varint(nil, settimeField, 1)))
	for i, flags := range settimeFlags {
		timer := varint(nil, 1, uint64(i))
		timer = protowire.AppendBytes(protowire.AppendTag(timer, 3, protowire.BytesType), varint(nil, settimeField, 1)) // fown
		for field := protowire.Number(4); field <= 10; field++ {
			value := uint64(1)
			if field == settimeField {
				value = flags
			}
			timer = varint(timer, field, value)
		}
		add(protowire.AppendBytes(protowire.AppendTag(varint(nil, 1, 17), timerField, protowire.BytesType), timer))
	}
	return image
}

func TestAbsoluteTimersBecomeRelative(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, relativeTimers(dir), "without an image there is nothing to do")
	path := filepath.Join(dir, filesImage)
	require.NoError(t, os.WriteFile(path, imageOf(0, 1, 3, 1, 2), 0o600))
	for range 2 {
		require.NoError(t, relativeTimers(dir))
		changed, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, imageOf(0, 0, 3, 0, 2), changed)
	}
}

func TestOtherImagesAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, filesImage)
	whole := imageOf(1, 1)
	for size := range whole {
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		if err := relativeTimers(dir); err == nil {
			entry, _ := absoluteTimers(whole[:size])
			require.Less(t, len(entry), 2, "cut between two entries")
		}
	}
	require.ErrorIs(t, relativeTimersOf(t, []byte("something else")), errImage)
}

func relativeTimersOf(t *testing.T, image []byte) error {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, filesImage), image, 0o600))
	return relativeTimers(dir)
}

func FuzzAbsoluteTimers(f *testing.F) {
	f.Add(imageOf())
	f.Add(imageOf(1, 0, 200))
	f.Fuzz(func(t *testing.T, data []byte) {
		offsets, err := absoluteTimers(data)
		if err != nil {
			require.Empty(t, offsets)
		}
		for _, at := range offsets {
			require.EqualValues(t, 1, data[at])
		}
	})
}
