package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/drover-mesh/drover/transport/wire"
)

func TestFramesComeBackAsWritten(t *testing.T) {
	var stream bytes.Buffer
	sizes := []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300 << 10}
	for i, n := range sizes {
		if err := wire.WriteFrame(&stream, wire.Type(i), bytes.Repeat([]byte{byte(i)}, n)); err != nil {
			t.Fatal(err)
		}
	}
	r := iotest.HalfReader(&stream)
	for i, n := range sizes {
		typ, payload, err := wire.ReadFrame(r, n)
		if err != nil || typ != wire.Type(i) || !bytes.Equal(payload, bytes.Repeat([]byte{byte(i)}, n)) {
			t.Fatalf("frame %d: type %d, %d bytes, error %v", i, typ, len(payload), err)
		}
	}
	if _, _, err := wire.ReadFrame(r, 10); err != io.EOF { //nolint:errorlint // as io.ReadAll asks
		t.Fatalf("at the end: got %v, want io.EOF", err)
	}
}

func TestLayoutIsAsDocumented(t *testing.T) {
	var stream bytes.Buffer
	if err := wire.WriteFrame(&stream, 7, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	if got, want := stream.String(), "\x00\x00\x00\x03\x07abc"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestEveryTruncationIsUnexpectedEOF(t *testing.T) {
	var stream bytes.Buffer
	if err := wire.WriteFrame(&stream, 1, []byte("payload")); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < stream.Len(); n++ {
		if _, _, err := wire.ReadFrame(bytes.NewReader(stream.Bytes()[:n]), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: got %v, want io.ErrUnexpectedEOF", n, err)
		}
	}
	big := append(binary.BigEndian.AppendUint32(nil, 1<<20), 1, 'x')
	if _, _, err := wire.ReadFrame(bytes.NewReader(big), 1<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("large frame cut: got %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestLimitIsCheckedBeforeThePayloadIsRead(t *testing.T) {
	header := append(binary.BigEndian.AppendUint32(nil, math.MaxUint32), 9)
	r := io.MultiReader(bytes.NewReader(header), iotest.ErrReader(errors.New("payload was read")))
	_, _, err := wire.ReadFrame(r, 100)
	var tooLarge *wire.TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.Type != 9 || tooLarge.Length != math.MaxUint32 || tooLarge.Limit != 100 {
		t.Fatalf("got %v", err)
	}
}

func TestAnnouncedLengthAllocatesNothing(t *testing.T) {
	announced := append(binary.BigEndian.AppendUint32(nil, 1<<30), 1, 'x')
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = wire.ReadFrame(bytes.NewReader(announced), 1<<30)
		}
	}).AllocedBytesPerOp()
	if got > 64<<10 {
		t.Fatalf("a frame that announces 1 GiB and holds one byte allocated %d bytes", got)
	}
}

func TestSmallFrameIsOneWrite(t *testing.T) {
	var writes countingWriter
	if err := wire.WriteFrame(&writes, 1, make([]byte, 1000)); err != nil || writes != 1 {
		t.Fatalf("%d writes, error %v", writes, err)
	}
}

type countingWriter int

func (c *countingWriter) Write(p []byte) (int, error) { *c++; return len(p), nil }

func TestMessages(t *testing.T) {
	type hello struct{ Name string }
	var stream bytes.Buffer
	if err := wire.WriteMessage(&stream, 3, hello{"fra"}); err != nil {
		t.Fatal(err)
	}
	m, err := wire.ReadMessage(&stream, 100)
	var got hello
	if err != nil || m.Type != 3 || m.Decode(&got) != nil || got.Name != "fra" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{", "{}{}", "\xff", `{"Name":"a"} x`} {
		stream.Reset()
		if err := wire.WriteFrame(&stream, 3, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ReadMessage(&stream, 100); err == nil || !strings.Contains(err.Error(), "not one JSON value") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	if err := wire.WriteMessage(io.Discard, 3, func() {}); err == nil {
		t.Error("a function was encoded")
	}
	if err := (wire.Message{Body: []byte(`{"Name":5}`)}).Decode(&got); err == nil {
		t.Error("a number was decoded into a string")
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03\x07abc"), 100)
	f.Add([]byte("\x00\x00\x00\x00\x00"), 0)
	f.Add([]byte("\xff\xff\xff\xff\x01x"), 1<<20)
	f.Add([]byte("\x00\x01\x00\x01\x01x"), -1)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		r := bytes.NewReader(data)
		for {
			before := r.Len()
			typ, payload, err := wire.ReadFrame(r, limit)
			if err != nil {
				if errors.Is(err, io.EOF) && before != 0 {
					t.Fatalf("io.EOF with %d bytes left", before)
				}
				return
			}
			if len(payload) > limit {
				t.Fatalf("%d bytes passed a limit of %d", len(payload), limit)
			}
			var again bytes.Buffer
			if err := wire.WriteFrame(&again, typ, payload); err != nil {
				t.Fatal(err)
			}
			at := len(data) - before
			if !bytes.Equal(again.Bytes(), data[at:at+again.Len()]) {
				t.Fatal("a frame that was read is written differently")
			}
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x07{}"))
	f.Add([]byte("\x00\x00\x00\x03\x07{}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := wire.ReadMessage(bytes.NewReader(data), 1<<16)
		if err != nil {
			return
		}
		var v any
		_ = m.Decode(&v) // may fail, for instance of 1e9999, and may not panic
		var again bytes.Buffer
		if err := wire.WriteMessage(&again, m.Type, m.Body); err != nil {
			t.Fatalf("a message that was read can't be written: %v", err)
		}
	})
}
