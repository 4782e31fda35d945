// Package sim runs whole meshes in virtual time, with everything that may befall them, and checks the rules of ownership
// after every event. A seed decides all of it: the same seed gives the same run, event by event.
//
// What is decided is decided by the product itself: by the state machine, leases and failovers of package state, by the
// machines of package agent/migrate/decide, and by the guard of package agent/fence. What is around them is modelled here:
// consensus as a log (log.go), hosts with kernels, clocks and disks (host.go, clock.go, disk.go), the agents that carry out
// what is decided (agent.go, duties.go, moves.go), a network, and the clients of the pods (client.go), who notice when
// something that they were told is lost.
//
// docs/simulation.md says how to run it and what it shows.
package sim
