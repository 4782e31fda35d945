// Package state is the vocabulary of the mesh and the one machine that decides placement: which node
// owns a pod, at which epoch, and which migration may change that.
//
// Everything here is pure. A [Machine] takes a [Command] and answers with a [Result]; it has no clock,
// goroutine or I/O, so every server that applies the same commands in the same order holds the same
// state. Package state/quorum supplies that order.
//
// Three rules hold whatever commands arrive, however often and in whichever order:
//
//   - a pod has exactly one owner, and an epoch of it never has two;
//   - epochs only grow;
//   - of Activate, Abort and AbortAndFailover of one migration, the first wins and the others are refused for ever;
//   - a pod is taken from its node, without that node's word, only by the leader whose reign is the latest in the log.
//
// A node runs a pod only while the committed state names it the owner at the epoch it knows, see
// [View.Owns]; a pod that others may take over only under a [Lease], too.
package state
