// Package route gives every pod of the mesh one address that works the same at every site, and moves that address
// between hosts without losing a packet. It programs the kernel by netlink; the kernel forwards, also while no agent runs.
//
// # What a pod sees
//
// A network namespace with one device eth0, its address as /32, a fixed MAC, and a default route over the link-local
// gateway 169.254.1.1, whose neighbour entry is permanent: nothing in it depends on the host, so nothing changes in a move.
//
// # What a host has
//
// A VXLAN device without learning, one forwarding entry and one permanent neighbour a peer, and three routing tables of
// its own; other tables are never touched.
//
//   - TableHere answers for packets that arrive from the overlay, and for those alone: pods that stand here, and pods that
//     were sent on from here. All else is unreachable. So a packet crosses the overlay a second time only where a Divert
//     said so, and two hosts that disagree about an owner can't pass a packet to and fro.
//   - TableMesh answers for everybody else: every pod, by its owner. The rest of the pod CIDR is unreachable.
//   - TablePeers answers for pods that speak to a peer's host: over the overlay, so that no pod address shows on the underlay.
//
// # Who may say what
//
// Two parties program routes, and neither writes what the other says:
//
//   - Set takes what the mesh has agreed: the peers, and the owner of each pod. It decides TableMesh and TablePeers.
//   - PreparePod, Hold, Release, Divert, Undivert and RemovePod say what stands at this host. Set repairs that, and never
//     changes it, so it may run at any time in a move.
//
// A pod that stands here is in one of three states, kept in the alias of its host device, which outlives the agent and
// every flush of routes and neighbours: base, held (packets for it queue in the kernel) or diverted (they go on to another
// node). Open reads them back. Only the sending on for a pod that has left is a route alone: if somebody flushes it,
// nodes with an old view lose packets until they hear of the move.
//
//	stands here  state     from the overlay  from here, owner here  from here, owner elsewhere
//	yes          base      device            device                 owner
//	yes          held      device, queued    device, queued         owner
//	yes          diverted  other node        other node             owner
//	sent on      -         owner, or if that is here yet: other node owner
//	no           -         unreachable       unreachable            owner
package route
