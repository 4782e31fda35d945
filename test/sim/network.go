package sim

import "time"

// A network joins nodes. What is sent takes its time, may be lost, may come late or twice, and therefore in any order.
type network struct {
	d    *driver
	cuts map[[2]string]bool
	tame bool // after healing nothing is lost any more
	seen rarities
}

func newNetwork(d *driver, seen rarities) *network {
	return &network{d: d, cuts: map[[2]string]bool{}, seen: seen}
}

func link(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (n *network) cut(a, b string, cut bool) { n.cuts[link(a, b)] = cut }

func (n *network) joined(a, b *node) bool {
	return a == b || !n.cuts[link(a.name, b.name)] && a.host.awake() && b.host.awake()
}

// A cargo says what the carrier of a message promises.
type cargo int

const (
	// once is a message on a connection: it comes once or not at all.
	once cargo = iota
	// often is a message that its sender may have repeated: it can come twice.
	often
)

// late is once in how many messages one comes much later than the others. Of what is sent again each copy travels by itself.
func (c cargo) late() int {
	if c == often {
		return 10
	}
	return 50
}

// send lets do happen at a node's agent, whichever lives there when it comes.
func (n *network) send(from, to *node, c cargo, what string, do func()) {
	n.carry(from, to, c, what, do)
	if c == often && !n.tame && n.d.oneIn(30) {
		n.seen.add(duplicated)
		n.carry(from, to, c, what+" (again)", do)
	}
}

func (n *network) carry(from, to *node, c cargo, what string, do func()) {
	delay := n.d.between(0, time.Millisecond)
	if from != to {
		delay = n.d.between(2*time.Millisecond, 80*time.Millisecond)
		switch {
		case n.tame:
		case n.d.oneIn(60):
			return // lost with its connection
		case n.d.oneIn(c.late()):
			n.seen.add(strayed)
			delay = n.d.between(time.Second, 40*time.Second)
		}
	}
	n.d.post(to.agent, delay, what, func() {
		switch {
		case n.joined(from, to):
			do()
		case n.d.oneIn(2): // a cut link holds what is on its way, as long as the sender retransmits
			n.carry(from, to, c, what, do)
		}
	})
}
