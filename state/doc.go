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
//   - of Activate and Abort of one migration, the first wins and the other is refused for ever.
//
// A node runs a pod only while the committed state names it the owner at the epoch it knows, see
// [View.Owns].
package state
