package route

import "net/netip"

// The numbers under which the kernel keeps what is ours. Routes, rules and devices with them belong to drover: what it
// did not put there it removes.
const (
	// Protocol marks our routes and rules; the values 5 to 255 are the user's (linux/rtnetlink.h), and 88 is free in
	// iproute2's rt_protos.
	Protocol = 88

	// The tables, and the priorities of the rules that consult them, equal for whoever reads `ip rule`. They lie behind
	// the kernel's local table (0), so that the host's own addresses win, and before main (32766).
	TableHere  = 8800
	TableMesh  = 8801
	TablePeers = 8802

	// Device is the overlay's.
	Device = "drover-vx"

	// vethPrefix begins the name of every pod's host device, namePrefix that of its network namespace.
	vethPrefix = "drv"
	namePrefix = "drover-"

	// overhead is what VXLAN over IPv4 adds to a packet: 20 IP, 8 UDP, 8 VXLAN, 14 Ethernet.
	overhead = 50

	// holdBytes bounds the queue of a held pod (net.ipv4.neigh.DEV.unres_qlen_bytes, counted with the kernel's own
	// overhead): two seconds of 200 Mbit/s. The oldest packet is dropped when it is full.
	holdBytes = 64 << 20

	// DefaultVNI and DefaultPort are the overlay's unless Config says otherwise; the port is IANA's for VXLAN.
	DefaultVNI  = 4088
	DefaultPort = 4789
)

// gateway is every pod's default gateway. No device has it: the pod's neighbour entry for it is permanent.
func gateway() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// relays are the neighbours that take turns while a hold is released; see Release.
func relays() [2]netip.Addr {
	return [2]netip.Addr{netip.AddrFrom4([4]byte{169, 254, 1, 2}), netip.AddrFrom4([4]byte{169, 254, 1, 3})}
}
