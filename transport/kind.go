package transport

import "fmt"

// Kind says what a stream is for. It is the first byte of the stream's header.
type Kind uint8

// The kinds of streams. Their values are part of the protocol.
const (
	Raft Kind = 1 // consensus between servers
	API  Kind = 2 // HTTP, as package api serves it
	Move Kind = 3 // the dialogue of a migration
	Bulk Kind = 4 // images and layers; on a connection of its own, paced by Config.BulkRate
	// Enrol asks for a certificate. It is the one kind that strangers may open too, see [Join]: Conn.Peer is
	// "" then.
	Enrol Kind = 5
	// Follow is what a server tells the nodes that follow its committed state.
	Follow Kind = 6
)

func (k Kind) valid() bool { return k >= Raft && k <= Follow }

// bulk tells whether a kind's streams are on the bulk connection, and paced.
func (k Kind) bulk() bool { return k == Bulk || k == padding }

func (k Kind) String() string {
	switch k {
	case Raft:
		return "raft"
	case API:
		return "api"
	case Move:
		return "move"
	case Bulk:
		return "bulk"
	case Enrol:
		return "enrol"
	case Follow:
		return "follow"
	case padding:
		return "padding"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// accepted is the byte with which the accepting side answers the kind: ASCII's ACK.
const accepted = 0x06

// Codes of RESET_STREAM and STOP_SENDING. Those of users (Conn.Reset) begin at FirstUserCode.
const (
	codeClosed      = 0 // the other side has closed the stream and reads no more
	codeUnknownKind = 1 // no such kind, or nobody listens for it
	codeBusy        = 2 // the listener's queue is full
	codeAborted     = 3 // closed in the midst of a write
	codeNoHeader    = 4 // the kind did not arrive in time

	// FirstUserCode is the smallest code that Conn.Reset should be given.
	FirstUserCode = 16
)
