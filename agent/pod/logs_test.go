package pod

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var out bytes.Buffer
	l := newLogReader(path, &out)
	require.NoError(t, l.copy(), "there is no log yet")
	add := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, l.copy())
	}
	const at = "2026-01-01T00:00:00.000000000+00:00 "
	add(at + "stdout F one\n" + at + "std")
	add("out P tw\n" + at + "stderr F error\n" + at + "stdout F o \n" + "garbage\n")
	require.Equal(t, "one\nerror\ntwo \n", out.String())

	require.NoError(t, os.Rename(path, path+".old")) // as conmon does when a log gets too big
	add(at + "stdout F three\n" + at + "stdout P unfinished\n")
	require.Equal(t, "one\nerror\ntwo \nthree\n", out.String())
	require.NoError(t, l.flush())
	require.Equal(t, "one\nerror\ntwo \nthree\nunfinished", out.String())
	l.close()

	out.Reset()
	add(strings.Repeat(at+"stdout P "+strings.Repeat("x", 1<<13)+"\n", 200)) // a line without end is not held back for ever
	require.Greater(t, out.Len(), 1<<20)
	l.close()
}
