package quorum

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/drover-mesh/drover/state"
)

// What is said on the stream from a server to a node that follows it: the follower's hello, then the server's news,
// again and again, and between them snapshots and entries. A frame is its type (one byte), the length of its payload
// (four, big-endian) and the payload.
const (
	frameHello    = 1 // JSON: who follows, and how far it has come
	frameNews     = 2 // JSON: how the server sees the mesh
	frameSnapshot = 3 // JSON: a snapshot begins
	framePart     = 4 // of the snapshot; an empty one ends it
	frameEntry    = 5 // the index (eight bytes, big-endian) and the encoded command
)

const (
	// maxFrame bounds a payload.
	maxFrame = 8 + state.MaxCommand
	// maxPart bounds what is sent of a snapshot, or of anything, at a time.
	maxPart = 32 << 10
	// maxSnapshot bounds a whole snapshot, in bytes.
	maxSnapshot = 512 << 20
)

// hello is what a follower begins with.
type hello struct {
	Node string   `json:"node"`
	At   position `json:"at"`
}

// news is how a server sees the mesh.
type news struct {
	// Mesh is the ID of its mesh, empty until that is set.
	Mesh string `json:"mesh"`
	// Era is the server's.
	Era uint64 `json:"era,omitempty"`
	// Leader is empty while the server knows none.
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
	// Voters and Joining are the members of Raft's configuration, by name.
	Voters  []string `json:"voters"`
	Joining []string `json:"joining"`
}

// snapshotHead begins a snapshot.
type snapshotHead struct {
	At position `json:"at"`
	// Replaced says that what the follower has isn't in the history of the mesh, which was recovered without it.
	Replaced bool `json:"replaced"`
}

// writeFrame writes a frame whose payload is parts.
func writeFrame(w io.Writer, kind byte, parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(size))
	for _, p := range append([][]byte{head}, parts...) {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// writeMessage writes a frame whose payload is v in JSON.
func writeMessage(w io.Writer, kind byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, kind, data)
}

// readFrame reads a frame. The payload is the caller's.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes is larger than the limit of %d", size, maxFrame)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// readMessage reads the frame that must come next.
func readMessage(r io.Reader, want byte, v any) error {
	kind, payload, err := readFrame(r)
	if err != nil {
		return err
	}
	if kind != want {
		return fmt.Errorf("frame of type %d where %d should be", kind, want)
	}
	return json.Unmarshal(payload, v)
}

// writeEntry writes an entry.
func writeEntry(w io.Writer, e entry) error {
	return writeFrame(w, frameEntry, binary.BigEndian.AppendUint64(nil, e.at.Index), e.data)
}

// readEntry takes the payload of an entry apart.
func readEntry(payload []byte) (index uint64, data []byte, err error) {
	if len(payload) < 8 {
		return 0, nil, fmt.Errorf("an entry of %d bytes", len(payload))
	}
	return binary.BigEndian.Uint64(payload), payload[8:], nil
}

// partWriter cuts what is written into parts.
type partWriter struct{ w io.Writer }

func (p partWriter) Write(data []byte) (n int, err error) {
	for n < len(data) {
		part := data[n:min(n+maxPart, len(data))]
		if err := writeFrame(p.w, framePart, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// partReader joins the parts of a snapshot.
type partReader struct {
	r    io.Reader
	part []byte
	size int
	done bool
}

func (p *partReader) Read(b []byte) (int, error) {
	for len(p.part) == 0 {
		if p.done {
			return 0, io.EOF
		}
		kind, part, err := readFrame(p.r)
		switch {
		case errors.Is(err, io.EOF):
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case kind != framePart:
			return 0, fmt.Errorf("frame of type %d within a snapshot", kind)
		}
		p.part, p.done = part, len(part) == 0
		if p.size += len(part); p.size > maxSnapshot {
			return 0, fmt.Errorf("a snapshot larger than the limit of %d bytes", maxSnapshot)
		}
	}
	n := copy(b, p.part)
	p.part = p.part[n:]
	return n, nil
}

// patient is a connection each part of whose reads and writes may take as long as given.
type patient struct {
	net.Conn
	read, write time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.read)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		if err := p.SetWriteDeadline(time.Now().Add(p.write)); err != nil {
			return n, err
		}
		var wrote int
		wrote, err = p.Conn.Write(b[n:min(n+maxPart, len(b))])
		n += wrote
	}
	return n, err
}
