package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWaitingShowsThatItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &cli{out: &out, width: columns(40)}
		broken := errors.New("broken")
		require.ErrorIs(t, c.waiting(func() string { return "starting" }, func() error {
			time.Sleep(1100 * time.Millisecond) // virtual
			return broken
		}), broken)
		assert.Equal(t, "  starting  0 s\r\x1b[K  starting  1 s\r\x1b[K", out.String())

		for name, quiet := range map[string]*cli{"no terminal": {out: &out}, "JSON": {out: &out, width: columns(40), output: "json"}} {
			out.Reset()
			require.NoError(t, quiet.waiting(nil, func() error { time.Sleep(time.Minute); return nil }), name)
			assert.Empty(t, out.String(), name)
		}
	})
}

func TestUploadKnowsHowFarItIs(t *testing.T) {
	u := &upload{ReadCloser: io.NopCloser(strings.NewReader("0123456789")), total: 10}
	assert.Equal(t, "0 B of 10 B (0 %)", u.String())
	_, err := u.Read(make([]byte, 5))
	require.NoError(t, err)
	assert.Equal(t, "5 B of 10 B (50 %)", u.String())
	u.total = 0
	assert.Equal(t, "5 B", u.String())
	_, err = io.ReadAll(u)
	require.NoError(t, err)
	assert.Equal(t, "10 B sent, unpacking", u.String())
}
