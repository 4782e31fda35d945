package quorum

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/drover-mesh/drover/state"
)

// ownership is what owning a pod means, said once more and as briefly as can be: who owns it, at which epoch, and how far each
// migration has come.
type ownership struct {
	owner string
	epoch uint64
	open  move
	over  string // " id=phase" of each migration that is over
}

// move is a migration that is open.
type move struct {
	id, source, target string
	epoch              uint64
	activated          bool
}

// asked is an operation on a register: a command, or nil to read it.
type asked struct {
	pod     string
	command state.Command
}

// answered is what came of it.
type answered struct {
	unknown bool // it may have happened, or may yet
	ok      bool // of a command
	owner   string
	epoch   uint64
	open    string // id of the migration that is open
	phase   state.MigrationPhase
}

func (r ownership) overAs(id string) state.MigrationPhase {
	_, rest, ok := strings.Cut(r.over, " "+id+"=")
	if !ok {
		return ""
	}
	phase, _, _ := strings.Cut(rest, " ")
	return state.MigrationPhase(phase)
}

func (r ownership) end(id string, as state.MigrationPhase) ownership {
	r.open, r.over = move{}, fmt.Sprintf("%s %s=%s", r.over, id, as)
	return r
}

// apply says whether a command is carried out, and what becomes of the register.
func (r ownership) apply(c state.Command) (ok bool, after ownership) {
	switch c := c.(type) {
	case state.Reserve:
		switch {
		case r.open.id == c.Migration:
			return r.open.source == c.Source && r.open.target == c.Target, r
		case r.overAs(c.Migration) != "" || r.open.id != "" || r.owner != c.Source || c.Source == c.Target:
			return false, r
		}
		r.open = move{c.Migration, c.Source, c.Target, r.epoch + 1, false}
		return true, r
	case state.Activate:
		switch {
		case r.open.id == c.Migration && r.open.target == c.Node && r.open.epoch == c.Epoch:
			r.owner, r.epoch, r.open.activated = c.Node, c.Epoch, true
			return true, r
		case r.overAs(c.Migration) == state.Done:
			return r.owner == c.Node && r.epoch == c.Epoch, r
		}
		return false, r
	case state.Abort:
		switch {
		case r.open.id == c.Migration && !r.open.activated:
			return true, r.end(c.Migration, state.Aborted)
		case r.open.id == c.Migration:
			return false, r
		case r.overAs(c.Migration) == "" && r.epoch+1 == c.Epoch: // before it was reserved
			r.over = fmt.Sprintf("%s %s=%s", r.over, c.Migration, state.Aborted)
			return true, r
		}
		return r.overAs(c.Migration) == state.Aborted, r
	case state.Complete:
		if r.open.id == c.Migration && r.open.target == c.Node && r.open.activated {
			return true, r.end(c.Migration, state.Done)
		}
		return r.overAs(c.Migration) == state.Done, r
	case state.Return:
		if r.open.id == c.Migration && r.open.target == c.Node && r.open.activated {
			r.owner, r.epoch = r.open.source, r.open.epoch+1
			return true, r.end(c.Migration, state.Returned)
		}
		return r.overAs(c.Migration) == state.Returned, r
	}
	panic(fmt.Sprintf("%T is not an operation on a register", c))
}

// registers is the model that a history of operations is compared with.
func registers(owner string) porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			pods := map[string][]porcupine.Operation{}
			for _, o := range all {
				pod := o.Input.(asked).pod
				pods[pod] = append(pods[pod], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range pods {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return ownership{owner: owner, epoch: 1} },
		Step: func(before, in, out any) (bool, any) {
			r, a := before.(ownership), out.(answered)
			c := in.(asked).command
			if c == nil {
				phase := state.MigrationPhase("")
				if r.open.id != "" {
					phase = state.Reserved
				}
				if r.open.activated {
					phase = state.Activated
				}
				return a == answered{owner: r.owner, epoch: r.epoch, open: r.open.id, phase: phase}, r
			}
			ok, after := r.apply(c)
			return a.unknown || a.ok == ok, after
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
		DescribeState:     func(r any) string { return fmt.Sprintf("%+v", r) },
	}
}
