package volumes

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

// An upper snapshot is a magic line and frames, each one byte of type, four of length (little-endian) and a
// payload:
//
//	base     first: the SHA-256 of the snapshot that this one continues, zeros if the receiver's state is known
//	         otherwise, nothing if it is complete and the receiver must empty its upper first
//	deleted  a path that is gone, with all below it; all of these come before the first entry
//	entry    a file of any type, its directory before it, the target of a hard link before the link
//	chunk    eight bytes of offset and content of the regular file that the last entry described; what no
//	         chunk covers is a hole
//	end      last: the SHA-256 of all before it
//
// It is not a tar: that has no sockets, no holes without reading all of a file beforehand, no attribute with "=" in
// its name, and no file that changes its size while it is written.
const streamMagic = "drover upper snapshot 1\n"

const (
	frameBase    = 'b'
	frameDeleted = 'd'
	frameEntry   = 'e'
	frameChunk   = 'c'
	frameEnd     = 'z'

	chunkSize = 256 << 10
	maxFrame  = 2 << 20 // an entry with a dozen attributes of the longest possible value
)

// A frameWriter writes frames and keeps their hash.
type frameWriter struct {
	w       io.Writer
	hash    hash.Hash
	written int64
	head    [5]byte
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	f := &frameWriter{w: w, hash: sha256.New()}
	return f, f.raw([]byte(streamMagic))
}

func (f *frameWriter) raw(b []byte) error {
	f.hash.Write(b)
	n, err := f.w.Write(b)
	f.written += int64(n)
	return err
}

func (f *frameWriter) frame(kind byte, payload ...[]byte) error {
	total := 0
	for _, part := range payload {
		total += len(part)
	}
	if total > maxFrame {
		return fmt.Errorf("%w: %d bytes of attributes", ErrTooLarge, total)
	}
	f.head[0] = kind
	binary.LittleEndian.PutUint32(f.head[1:], uint32(total))
	if err := f.raw(f.head[:]); err != nil {
		return err
	}
	for _, part := range payload {
		if err := f.raw(part); err != nil {
			return err
		}
	}
	return nil
}

// end closes the snapshot and returns its digest.
func (f *frameWriter) end() (state.Digest, error) {
	sum := f.hash.Sum(nil)
	return state.Digest(fmt.Sprintf("sha256:%x", sum)), f.frame(frameEnd, sum)
}

// A frameReader reads frames, and never a byte more than it returns. The payload is good until the next frame.
type frameReader struct {
	r       io.Reader
	hash    hash.Hash
	buf     []byte
	kind    byte
	payload []byte
	again   bool // the next call returns the same frame
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	f := &frameReader{r: r, hash: sha256.New(), buf: make([]byte, chunkSize+8)}
	magic := make([]byte, len(streamMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, cutShort(err)
	}
	if string(magic) != streamMagic {
		return nil, fmt.Errorf("%w: not a snapshot of an upper", ErrCorrupt)
	}
	f.hash.Write(magic)
	return f, nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends in the middle: %w", ErrCorrupt, io.ErrUnexpectedEOF)
	}
	return err
}

// next reads a frame into f.kind and f.payload. The end frame is verified before it is returned.
func (f *frameReader) next() error {
	if f.again {
		f.again = false
		return nil
	}
	var head [5]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return cutShort(err)
	}
	size := int(binary.LittleEndian.Uint32(head[1:]))
	if size > maxFrame {
		return fmt.Errorf("%w: a frame of %d bytes", ErrCorrupt, size)
	}
	if size > len(f.buf) {
		f.buf = make([]byte, size)
	}
	f.kind, f.payload = head[0], f.buf[:size]
	if _, err := io.ReadFull(f.r, f.payload); err != nil {
		return cutShort(err)
	}
	if f.kind == frameEnd && !bytes.Equal(f.payload, f.hash.Sum(nil)) {
		return fmt.Errorf("%w: the digest of the snapshot is wrong", ErrCorrupt)
	}
	f.hash.Write(head[:])
	f.hash.Write(f.payload)
	return nil
}

// encode appends the entry: numbers as varints, strings with their length before them.
func (e *entry) encode(b []byte) []byte {
	var hard uint64
	if e.hard {
		hard = 1
	}
	for _, n := range []uint64{uint64(e.mode), hard, uint64(e.uid), uint64(e.gid), e.rdev, uint64(e.size), uint64(e.mtime.Nsec)} { //nolint:unconvert // int32 on some architectures
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendVarint(b, int64(e.mtime.Sec)) //nolint:unconvert // as above
	b = appendString(appendString(b, e.path), e.link)
	for _, x := range e.xattrs {
		b = appendString(appendString(b, x.name), x.value)
	}
	return b
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeEntry is the inverse of encode and checks all that doesn't need the file system. The entry shares no
// memory with b.
func decodeEntry(b []byte) (*entry, error) {
	d := decoder{rest: b}
	e := &entry{mode: d.uint32()}
	hard := d.uint()
	e.hard = hard == 1
	e.uid, e.gid, e.rdev = d.uint32(), d.uint32(), d.uint()
	e.size = int64(d.uint())
	nsec := d.uint()
	e.mtime = unix.Timespec{Sec: d.int(), Nsec: int64(nsec)}
	e.path, e.link = string(d.bytes()), string(d.bytes())
	for !d.bad && len(d.rest) > 0 {
		e.xattrs = append(e.xattrs, xattr{string(d.bytes()), bytes.Clone(d.bytes())})
	}
	const none = 1<<32 - 1 // chown(2) takes it for "leave as it is"
	if d.bad || hard > 1 || e.size < 0 || nsec >= 1e9 || e.mode&^(unix.S_IFMT|0o7777) != 0 || e.uid == none || e.gid == none {
		return nil, fmt.Errorf("%w: an entry that makes no sense", ErrCorrupt)
	}
	if err := checkPath(e.path); err != nil {
		return nil, err
	}
	if e.hard {
		return e, checkPath(e.link)
	}
	return e, nil
}

// checkPath takes a path only in the form in which Pack writes it.
func checkPath(name string) error {
	clean, err := cleanName(name)
	if err == nil && clean != name {
		err = &RefusedError{Entry: name, Reason: "is not written as a path beneath its root"}
	}
	return err
}

// A decoder takes varints and strings off a buffer; bad says that there were too few bytes, or too big a number.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	return v * uint64(d.skip(n))
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.rest)
	return v * int64(d.skip(n))
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	d.bad = d.bad || v > 1<<32-1
	return uint32(v)
}

// skip advances by n and returns 1, or 0 if n is no length that a varint can have.
func (d *decoder) skip(n int) int {
	if n <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return 1
}

func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}
