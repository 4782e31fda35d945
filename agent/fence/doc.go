// Package fence stops the pods of a node when the node's lease ends, whatever has become of its agent.
//
// A pod that other nodes may take over runs only while its node has a lease. Two things see to that, and neither needs the
// agent:
//
//   - The fence, a process apart: `drover fence`. It holds the freezers of such pods open and has its memory locked, so that it
//     needs no disk, no memory and nobody's answer to freeze them in the moment in which the lease ends. It thaws one only when
//     it is told to and has a lease again.
//   - The mute, rules in the kernel. What such a pod sends leaves its device on the host's side only while an element of an
//     nftables set is there, which times out with the lease.
//
// The agent renews both with each renewal of the lease. The fence freezes the cgroup of the pod as a whole; moves freeze those of
// its containers, below it. So neither ever lifts the freeze of the other.
package fence
