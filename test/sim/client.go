package sim

import (
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A birth says how a copy came by its first memory.
type birth string

const (
	bornNew        birth = "created"
	bornOfFailover birth = "failed over"
	bornOfReboot   birth = "its host was down"
)

// A life is what began from an image and was never started from one again. Moves and freezes don't end it.
type life struct {
	birth birth
	epoch uint64
}

// A client talks to one pod and remembers all that it was told. Whoever answers must remember as much.
type client struct {
	w     *world
	pod   string
	uid   string
	input uint64
	acked memory
	life  *life
	loss  uint64 // the epoch of the latest loss that was reported and found
}

// ask gives the pod an input and compares what it answers. Nobody answers for a pod that stands still.
func (c *client) ask() {
	c.w.d.timer(c.w.outside, c.w.d.between(100*time.Millisecond, 500*time.Millisecond), "input for "+c.pod, c.ask)
	for _, n := range c.w.nodes {
		for _, x := range n.host.copies {
			if x.uid == c.uid && c.w.acts(n, x) {
				c.compare(n, x)
				c.input++
				x.take(c.input)
				c.acked = x.memory
			}
		}
	}
}

// compare holds what a copy remembers against what the pod has acknowledged.
func (c *client) compare(n *node, x *copied) {
	if x.memory == c.acked {
		c.life = x.life
		return
	}
	if err := c.excuse(n, x); err != nil {
		c.w.violated(ruleLost, "%s at %s has %s, and had acknowledged %s: %v", c.pod, n.name, x.memory, c.acked, err)
		return
	}
	c.w.seen.add(lossReported)
	c.life = x.life
}

// excuse says why a copy need not have all that was acknowledged: a host was lost, and people are told.
func (c *client) excuse(n *node, x *copied) error {
	if x.life != c.life && x.life.birth == bornOfReboot && x.n == 0 {
		return nil
	}
	pod, ok := c.w.log.view().Pod(c.pod)
	switch {
	case !ok || pod.Origin == nil:
		return fmt.Errorf("no loss was reported")
	case pod.Origin.Lost == "":
		return fmt.Errorf("its origin says of no loss")
	case pod.Origin.Epoch <= c.loss:
		return fmt.Errorf("the loss of epoch %d was known", pod.Origin.Epoch)
	case pod.Origin.Kind == state.OriginImage && x.n != 0:
		return fmt.Errorf("it should have begun anew")
	}
	c.loss = pod.Origin.Epoch
	return nil
}
