// Package wire reads and writes the frames in which drover's nodes talk on a stream, with a limit on
// everything that comes from the other side.
//
// # Format
//
// A frame is a header of five bytes and a payload:
//
//	offset  size  field
//	0       4     length of the payload in bytes, unsigned, big endian; the header is not counted
//	4       1     type; its meaning belongs to the protocol that the stream speaks
//	5       n     payload
//
// A payload may be empty. A stream ends between frames; an end anywhere else is [io.ErrUnexpectedEOF].
// A message is a frame whose payload is one JSON value (RFC 8259) and nothing after it.
// Version and compatibility are the business of the protocol above: the format itself has no version
// field, since the transport's ALPN ("drover/1") names it.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// HeaderSize is the number of bytes that a frame adds to its payload.
const HeaderSize = 5

// joinBelow is the largest payload that is copied behind its header, so that a frame is one write (and,
// if it is small, one packet). Larger payloads are written as they are.
const joinBelow = 64 << 10

// Type tells what a frame's payload is. Its values belong to the protocol that the stream speaks.
type Type uint8

// TooLargeError says that a frame announced more than its reader accepts. The payload was not read, so
// the stream can't be used further.
type TooLargeError struct {
	Type   Type
	Length uint32 // announced by the sender, in bytes
	Limit  int    // of the reader, in bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("frame of type %d has %d bytes, more than the limit of %d", e.Type, e.Length, e.Limit)
}

// WriteHeader announces a frame of n bytes. The caller writes exactly n bytes of payload after it.
func WriteHeader(w io.Writer, t Type, n int) error {
	header, err := appendHeader(make([]byte, 0, HeaderSize), t, n)
	if err != nil {
		return err
	}
	_, err = w.Write(header)
	return err
}

// WriteFrame writes one frame. It keeps no reference to payload. Frames of less than 64 KiB are one call
// of Write. WriteFrame doesn't lock: concurrent writers of one stream need a lock of their own.
func WriteFrame(w io.Writer, t Type, payload []byte) error {
	if len(payload) > joinBelow {
		if err := WriteHeader(w, t, len(payload)); err != nil {
			return err
		}
		_, err := w.Write(payload)
		return err
	}
	frame, err := appendHeader(make([]byte, 0, HeaderSize+len(payload)), t, len(payload))
	if err != nil {
		return err
	}
	_, err = w.Write(append(frame, payload...))
	return err
}

func appendHeader(b []byte, t Type, n int) ([]byte, error) {
	if n < 0 || n > math.MaxUint32 {
		return nil, fmt.Errorf("frame of type %d can't hold %d bytes: the length field has 32 bits", t, n)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(n)), byte(t)), nil
}

// ReadHeader reads the header of a frame of at most limit bytes of payload, which the caller reads next.
// It returns io.EOF only if the stream ended before the frame, and *[TooLargeError] if the frame exceeds
// the limit.
func ReadHeader(r io.Reader, limit int) (t Type, n int, err error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, 0, err
	}
	length := binary.BigEndian.Uint32(header[:])
	t = Type(header[4])
	if limit < 0 || uint64(length) > uint64(limit) {
		return t, 0, &TooLargeError{Type: t, Length: length, Limit: limit}
	}
	return t, int(length), nil
}

// ReadFrame reads one frame of at most limit bytes of payload. The caller owns the payload. Memory grows
// with what has arrived, not with what was announced. Errors are those of [ReadHeader].
func ReadFrame(r io.Reader, limit int) (Type, []byte, error) {
	t, n, err := ReadHeader(r, limit)
	if err != nil {
		return t, nil, err
	}
	payload, err := readPayload(r, n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return t, payload, err
}

func readPayload(r io.Reader, n int) ([]byte, error) {
	if n <= joinBelow {
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			return nil, err
		}
		return payload, nil
	}
	var payload bytes.Buffer
	if _, err := io.CopyN(&payload, r, int64(n)); err != nil {
		return nil, err
	}
	return payload.Bytes(), nil
}
