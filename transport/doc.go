// Package transport gives the agents of a mesh streams to each other, by node name, over QUIC with mutual
// TLS 1.3, and makes the certificates that they need for it.
//
// A [Transport] has one UDP socket for what it dials and what it accepts. To each peer it keeps one
// connection for control (Raft, API, Move) and one for Bulk, so that bulk data, which may be paced, never
// stands in front of a control message. Connections are made when first needed, kept, and made anew when
// they break. Two nodes that dial each other have two connections of a class; each opens streams on its own.
//
// # Protocol
//
// ALPN is "drover/1". A stream begins with 16 bytes: its [Kind], and 15 that the sender makes zero and the
// receiver ignores. The accepting side answers with one byte, 0x06, as soon as the stream stands in the queue
// of a listener, or resets the stream with one of the codes in kind.go. Everything after belongs to the kind's
// own protocol, mostly frames of package wire. Each end of a connection sends a datagram of 16 zeros a second.
//
// # Failure
//
// A cut link or a dead host is an error of every stream within [DeadAfter]. A peer whose agent was killed
// and restarted says so in answer to the first packet that has more than 42 bytes (stateless reset), such as
// the opening of a stream, a frame of some ten bytes, or the next heartbeat.
package transport
