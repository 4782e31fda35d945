package agent

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/transport/wire"
)

func TestBodyComesBackAsWritten(t *testing.T) {
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, maxData, 5*chunk + 3} {
		sent := bytes.Repeat([]byte("0123456789abcdef!"), n/17+1)[:n]
		var stream bytes.Buffer
		require.NoError(t, writeBody(&stream, func(w io.Writer) error {
			_, err := io.Copy(w, iotest.OneByteReader(bytes.NewReader(sent)))
			return err
		}))
		require.NoError(t, writeBody(&stream, func(w io.Writer) error { _, err := w.Write(sent); return err }))
		for range 2 {
			got, err := io.ReadAll(&body{r: iotest.HalfReader(&stream)})
			require.NoError(t, err)
			require.True(t, bytes.Equal(sent, got), "%d bytes", n)
		}
		require.Zero(t, stream.Len())
	}
}

func TestCutBodyIsNoBody(t *testing.T) {
	var stream bytes.Buffer
	require.NoError(t, writeBody(&stream, func(w io.Writer) error { _, err := w.Write(make([]byte, 100)); return err }))
	for n := range stream.Len() {
		_, err := io.ReadAll(&body{r: bytes.NewReader(stream.Bytes()[:n])})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut after %d bytes", n)
	}
}

func TestBodyThatCouldNotBeWrittenHasNoEnd(t *testing.T) {
	var stream bytes.Buffer
	require.Error(t, writeBody(&stream, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 2*chunk))
		return errors.Join(err, errors.New("the file can't be read"))
	}))
	_, err := io.ReadAll(&body{r: &stream})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestStrangeBodies(t *testing.T) {
	for name, write := range map[string]func(w io.Writer) error{
		"another frame":     func(w io.Writer) error { return wire.WriteFrame(w, frameImage, []byte(`{"name":"x"}`)) },
		"an end with words": func(w io.Writer) error { return wire.WriteFrame(w, frameEnd, []byte("x")) },
		"too large a frame": func(w io.Writer) error { return wire.WriteFrame(w, frameData, make([]byte, maxData+1)) },
	} {
		var stream bytes.Buffer
		require.NoError(t, write(&stream))
		got, err := io.ReadAll(&body{r: &stream})
		require.Error(t, err, name)
		require.Empty(t, got, name)
	}
}

func FuzzBody(f *testing.F) {
	var stream bytes.Buffer
	_ = writeBody(&stream, func(w io.Writer) error { _, err := w.Write([]byte("hello")); return err })
	f.Add(stream.Bytes())
	f.Add(stream.Bytes()[:4])
	f.Add([]byte("\xff\xff\xff\xff\x0a"))
	f.Add([]byte("\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x0a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		got, err := io.ReadAll(&body{r: r})
		if len(got) > len(data) {
			t.Fatalf("%d bytes out of %d", len(got), len(data))
		}
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeBody(&again, func(w io.Writer) error { _, err := w.Write(got); return err }); err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(&body{r: &again}); err != nil || !bytes.Equal(back, got) {
			t.Fatalf("got %q, %v; want %q", back, err, got)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x07{}"))
	f.Add([]byte("\x00\x00\x00\x0d\x07{\"error\":\"x\"}"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = readAnswer(bytes.NewReader(data)) })
}
