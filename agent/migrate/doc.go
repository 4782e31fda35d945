// Package migrate moves a running pod from one node to another so that at most one copy of it ever runs and
// nothing that it acknowledged is lost.
//
// The pipeline is a table of steps (pipeline.go). The node that the pod leaves drives it (departure.go); the
// node that it goes to serves it (arrival.go). What both may do is decided by one record in the mesh's
// committed state: the source lets the pod go on only after its Abort was committed and won, the target only
// after its Activate was. Every other failure, a crash of either agent included, is resolved by asking that
// record.
//
// What comes next at either end package decide says. The driver of an end (driver.go) carries that out.
//
// The package does no I/O of its own but for its journal: hosts, peers and the committed state are the
// interfaces of ports.go.
package migrate
