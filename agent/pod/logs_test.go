package pod

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var out bytes.Buffer
	l := &logReader{path: path, begun: map[string][]byte{}}
	put := func() error {
		return l.put(func(lines []byte, _ time.Time) error { out.Write(lines); return nil })
	}
	require.NoError(t, l.read(), "there is no log yet")
	add := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, l.read())
		require.NoError(t, put())
	}
	const at = "2026-01-01T00:00:00.000000000+00:00 "
	add(at + "stdout F one\n" + at + "std")
	add("out P tw\n" + at + "stderr F error\n" + at + "stdout F o \n" + "garbage\n")
	require.Equal(t, "one\nerror\ntwo \n", out.String())

	require.NoError(t, os.Rename(path, path+".old")) // as conmon does when a log gets too big
	add(at + "stdout F three\n" + at + "stdout P unfinished\n")
	require.Equal(t, "one\nerror\ntwo \nthree\n", out.String())
	l.flush()
	require.NoError(t, put())
	require.Equal(t, "one\nerror\ntwo \nthree\nunfinished", out.String())
	l.close()

	out.Reset()
	add(strings.Repeat(at+"stdout P "+strings.Repeat("x", 1<<13)+"\n", 200)) // a line without end is not held back for ever
	require.Greater(t, out.Len(), 1<<20)
	l.close()
}

func TestLogOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	at := func(second int) string {
		return time.Date(2026, 1, 1, 0, 0, second, 5, time.UTC).Format(time.RFC3339Nano)
	}
	var log string
	for i := range 5000 {
		log += fmt.Sprintf("%s stdout F line %d\n", at(i), i)
	}
	require.NoError(t, os.WriteFile(path, []byte(log), 0o600))
	read := func(o LogOptions) (text string, last time.Time) {
		l := &logReader{path: path, options: o, begun: map[string][]byte{}}
		defer l.close()
		require.NoError(t, l.read())
		l.cut()
		require.NoError(t, l.put(func(lines []byte, at time.Time) error { text += string(lines); last = at; return nil }))
		return text, last
	}
	text, last := read(LogOptions{Tail: 2})
	require.Equal(t, "line 4998\nline 4999\n", text)
	require.Equal(t, at(4999), last.UTC().Format(time.RFC3339Nano))
	text, _ = read(LogOptions{})
	require.Equal(t, 5000, strings.Count(text, "\n"))
	since, err := time.Parse(time.RFC3339Nano, at(4997))
	require.NoError(t, err)
	text, _ = read(LogOptions{Since: since})
	require.Equal(t, "line 4998\nline 4999\n", text, "what was read up to a line is not read again")
	text, _ = read(LogOptions{Tail: 1, Timestamps: true})
	require.Equal(t, at(4999)+" line 4999\n", text)
}
