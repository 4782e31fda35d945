package volumes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// snapshotOf is what a peer would send that writes frames at will; base nil makes it a complete one.
func snapshotOf(t testing.TB, base []byte, frames ...func(*frameWriter) error) []byte {
	t.Helper()
	var wire bytes.Buffer
	w, err := newFrameWriter(&wire)
	require.NoError(t, err)
	require.NoError(t, w.frame(frameBase, base))
	for _, write := range frames {
		require.NoError(t, write(w))
	}
	_, err = w.end()
	require.NoError(t, err)
	return wire.Bytes()
}

func entryFrame(e entry) func(*frameWriter) error {
	if e.uid == 0 {
		e.uid, e.gid = uint32(os.Getuid()), uint32(os.Getgid())
	}
	return func(w *frameWriter) error { return w.frame(frameEntry, e.encode(nil)) }
}

func rawFrame(kind byte, payload string) func(*frameWriter) error {
	return func(w *frameWriter) error { return w.frame(kind, []byte(payload)) }
}

func TestApplyTrustsNoPeer(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "precious"), []byte("x"), 0o600))
	anywhere := make([]byte, 32)
	link := entryFrame(entry{path: "link", mode: unix.S_IFLNK | 0o777, link: outside})
	at := func(path string) entry { return entry{path: path, mode: unix.S_IFREG | 0o644} }
	dir := func(x xattr) entry {
		return entry{path: "d", mode: unix.S_IFDIR | 0o755, xattrs: []xattr{x}}
	}
	many := at("many")
	many.size = 10
	for name, c := range map[string]struct {
		frames []func(*frameWriter) error
		want   string
	}{
		"dots":                 {[]func(*frameWriter) error{entryFrame(at("../x"))}, `layer entry "../x" would land outside its root`},
		"absolute":             {[]func(*frameWriter) error{entryFrame(at("/x"))}, `layer entry "/x" is not written as a path beneath`},
		"not clean":            {[]func(*frameWriter) error{entryFrame(at("a//x"))}, `not written as a path`},
		"zero byte":            {[]func(*frameWriter) error{entryFrame(at("a\x00b"))}, `zero byte`},
		"no name":              {[]func(*frameWriter) error{entryFrame(at(""))}, `not written as a path`},
		"through a link":       {[]func(*frameWriter) error{link, entryFrame(at("link/x"))}, `layer entry "link/x" would land outside its root: link is a symbolic link`},
		"root is a link":       {[]func(*frameWriter) error{entryFrame(entry{path: ".", mode: unix.S_IFLNK, link: outside})}, "that must be a directory"},
		"hard link outside":    {[]func(*frameWriter) error{entryFrame(entry{path: "x", hard: true, link: "../precious"})}, "would land outside"},
		"hard link over link":  {[]func(*frameWriter) error{link, entryFrame(entry{path: "x", hard: true, link: "link/precious"})}, "link is a symbolic link"},
		"hard link to nothing": {[]func(*frameWriter) error{entryFrame(entry{path: "x", hard: true, link: "y"})}, "no file of this layer"},
		"hard link to itself":  {[]func(*frameWriter) error{entryFrame(at("x")), entryFrame(entry{path: "x", hard: true, link: "x"})}, "no file of this layer"},
		"deletes dots":         {[]func(*frameWriter) error{rawFrame(frameDeleted, "../precious")}, "would land outside"},
		"deletes the root":     {[]func(*frameWriter) error{rawFrame(frameDeleted, ".")}, "can't be deleted"},
		"deletes over a link":  {[]func(*frameWriter) error{rawFrame(frameDeleted, "way out/precious")}, `layer entry "way out/precious" would land outside its root: way out is a symbolic link`},
		"deletes late":         {[]func(*frameWriter) error{entryFrame(at("x")), rawFrame(frameDeleted, "x")}, "a deletion behind an entry"},
		"redirect":             {[]func(*frameWriter) error{entryFrame(dir(xattr{overlayPrefix + "redirect", []byte("/")}))}, "an attribute by which overlayfs"},
		"strange opaque":       {[]func(*frameWriter) error{entryFrame(dir(xattr{opaqueXattr, []byte("x")}))}, "an attribute by which overlayfs"},
		"chunk of nothing":     {[]func(*frameWriter) error{rawFrame(frameChunk, "12345678x")}, "has no place here"},
		"chunk beyond":         {[]func(*frameWriter) error{entryFrame(many), rawFrame(frameChunk, "\x05\x00\x00\x00\x00\x00\x00\x00123456")}, "beyond the end"},
		"chunk far beyond":     {[]func(*frameWriter) error{entryFrame(many), rawFrame(frameChunk, "\xff\xff\xff\xff\xff\xff\xff\xff123456")}, "beyond the end"},
		"chunk without offset": {[]func(*frameWriter) error{entryFrame(many), rawFrame(frameChunk, "123")}, "without an offset"},
		"no type":              {[]func(*frameWriter) error{entryFrame(entry{path: "x", mode: 0o644})}, "unknown type"},
		"two bases":            {[]func(*frameWriter) error{rawFrame(frameBase, "")}, "has no place here"},
		"unknown frame":        {[]func(*frameWriter) error{rawFrame('?', "")}, "has no place here"},
		"no entry":             {[]func(*frameWriter) error{rawFrame(frameEntry, "")}, "makes no sense"},
		"owner nobody has":     {[]func(*frameWriter) error{entryFrame(entry{path: "x", uid: 1<<32 - 1, mode: unix.S_IFREG})}, "makes no sense"},
	} {
		t.Run(name, func(t *testing.T) {
			upper := filepath.Join(t.TempDir(), "upper")
			require.NoError(t, os.Mkdir(upper, 0o755))
			require.NoError(t, os.Symlink(outside, filepath.Join(upper, "way out")))
			err := Apply(t.Context(), bytes.NewReader(snapshotOf(t, anywhere, c.frames...)), upper)
			require.ErrorContains(t, err, c.want)
			var refused *RefusedError
			require.True(t, errors.As(err, &refused) || errors.Is(err, ErrCorrupt), err)
			require.Equal(t, "x", read(t, outside, "precious"))
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Len(t, left, 1)
		})
	}
}

func sampleSnapshot(t testing.TB) (from string, wire []byte) {
	from = t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(from, "d/e"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(from, "d/f"), []byte("content"), 0o644))
	require.NoError(t, os.Symlink("f", filepath.Join(from, "d/s")))
	require.NoError(t, os.Link(filepath.Join(from, "d/f"), filepath.Join(from, "d/g")))
	var b bytes.Buffer
	_, _, err := Pack(t.Context(), &b, from, Manifest{}, nil)
	require.NoError(t, err)
	return from, b.Bytes()
}

func TestEveryCutAndEveryFlippedBitIsAnErrorAndACompleteSnapshotMendsIt(t *testing.T) {
	from, wire := sampleSnapshot(t)
	to := filepath.Join(t.TempDir(), "upper")
	require.NoError(t, os.Mkdir(to, 0o755))
	for cut := range wire {
		require.ErrorIs(t, Apply(t.Context(), bytes.NewReader(wire[:cut]), to), io.ErrUnexpectedEOF)
		require.Error(t, Apply(t.Context(), bytes.NewReader(flip(wire, cut)), to))
		require.NoFileExists(t, to+".round")
	}
	require.NoError(t, Apply(t.Context(), bytes.NewReader(wire), to))
	requireSameTree(t, from, to)
}

func TestASnapshotContinuesOnlyTheOneBefore(t *testing.T) {
	from := t.TempDir()
	to := filepath.Join(t.TempDir(), "upper")
	require.NoError(t, os.Mkdir(to, 0o755))
	known, _ := ship(t, from, to, Manifest{}, nil)
	require.NoError(t, os.WriteFile(filepath.Join(from, "a"), nil, 0o644))
	var second, third bytes.Buffer
	known, _, err := Pack(t.Context(), &second, from, known, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(from, "b"), nil, 0o644))
	_, _, err = Pack(t.Context(), &third, from, known, nil)
	require.NoError(t, err)
	require.ErrorContains(t, Apply(t.Context(), bytes.NewReader(third.Bytes()), to), "continues another snapshot")
	require.NoError(t, Apply(t.Context(), bytes.NewReader(second.Bytes()), to))
	require.Error(t, Apply(t.Context(), bytes.NewReader(second.Bytes()), to), "twice")
	require.NoError(t, Apply(t.Context(), bytes.NewReader(third.Bytes()), to), "a refused one has changed nothing")
	requireSameTree(t, from, to)
	require.Error(t, Apply(t.Context(), bytes.NewReader(flip(third.Bytes(), third.Len()-1)), to))
	require.Error(t, Apply(t.Context(), bytes.NewReader(third.Bytes()), to))
	ship(t, from, to, Manifest{}, nil)
	requireSameTree(t, from, to)
}

func TestADeletedDirectoryComesBack(t *testing.T) {
	upper := filepath.Join(t.TempDir(), "upper")
	require.NoError(t, os.MkdirAll(filepath.Join(upper, "d/x"), 0o755))
	require.NoError(t, Apply(t.Context(), bytes.NewReader(snapshotOf(t, make([]byte, 32),
		rawFrame(frameDeleted, "d/x"), rawFrame(frameDeleted, "d"), rawFrame(frameDeleted, "d/x"),
		entryFrame(entry{path: "d", mode: unix.S_IFDIR | 0o755}), entryFrame(entry{path: "d/y", mode: unix.S_IFREG | 0o644}))), upper))
	require.FileExists(t, filepath.Join(upper, "d/y"))
}

func TestPackAndApplyStopWithTheirContext(t *testing.T) {
	from, wire := sampleSnapshot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := Pack(ctx, io.Discard, from, Manifest{}, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, Apply(ctx, bytes.NewReader(wire), t.TempDir()), context.Canceled)
	broken := errors.New("broken")
	_, _, err = Pack(t.Context(), writerFunc(func([]byte) (int, error) { return 0, broken }), from, Manifest{}, nil)
	require.ErrorIs(t, err, broken)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestPathsTooLongToOpenAreSaid(t *testing.T) {
	from := t.TempDir()
	fd, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	element := strings.Repeat("d", 250)
	for range 20 { // as a pod can, step by step
		require.NoError(t, unix.Mkdirat(fd, element, 0o755))
		next, err := unix.Openat(fd, element, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Close(fd))
		fd = next
	}
	require.NoError(t, unix.Close(fd))
	_, _, err = Pack(t.Context(), io.Discard, from, Manifest{}, nil)
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, removeTree(filepath.Join(from, element)), "but it can be deleted")
}

func FuzzApply(f *testing.F) {
	_, wire := sampleSnapshot(f)
	f.Add(wire)
	f.Add(snapshotOf(f, nil, entryFrame(entry{path: "l", mode: unix.S_IFLNK, link: "/"}), entryFrame(entry{path: "l/x", mode: unix.S_IFREG})))
	f.Add(snapshotOf(f, make([]byte, 32), rawFrame(frameDeleted, "a"), entryFrame(entry{path: "a", hard: true, link: "b"})))
	dir := f.TempDir()
	require.NoError(f, os.Mkdir(filepath.Join(dir, "upper"), 0o755))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Garbage rarely has the right digest; without this nothing behind it would be tried.
		if i := bytes.LastIndexByte(b, frameEnd); i >= len(streamMagic) {
			if sum, ok := sumOf(b[:i]); ok {
				b = append(append(bytes.Clone(b[:i]), frameEnd, 32, 0, 0, 0), sum...)
			}
		}
		_ = Apply(t.Context(), bytes.NewReader(b), filepath.Join(dir, "upper"))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range left {
			require.Contains(t, []string{"upper", "upper.round"}, entry.Name())
		}
	})
}

func sumOf(b []byte) ([]byte, bool) {
	w, err := newFrameWriter(io.Discard)
	if err != nil || !bytes.HasPrefix(b, []byte(streamMagic)) {
		return nil, false
	}
	w.hash.Write(b[len(streamMagic):])
	return w.hash.Sum(nil), true
}

func FuzzDecodeEntry(f *testing.F) {
	e := entry{path: "a/b", mode: unix.S_IFREG | 0o644, uid: 7, size: 9, mtime: unix.Timespec{Sec: -1, Nsec: 5}, xattrs: []xattr{{"user.x", []byte("y")}}}
	f.Add(e.encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		again, err := decodeEntry(e.encode(nil))
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}
