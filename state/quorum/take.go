package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/drover-mesh/drover/state"
)

// What may be wrong with what a follower hears, as people read it.
const (
	// anotherMesh is what a node meets if all servers have begun anew, say on new disks. To believe them would be to
	// forget every pod.
	anotherMesh = "the servers that answer know nothing of the mesh that this node was in; restart its agent if they are right"
	// anotherEra is what it meets if servers come back that were lost when the mesh was recovered.
	anotherEra = "a server that answers has not heard yet that the mesh was recovered"
	tooOld     = "this agent does not understand a command of the mesh, and hears no more: upgrade it"
)

// take applies what a server sends, until the stream ends.
func (f *follower) take(s *session) error {
	for {
		kind, payload, err := readFrame(s.r)
		if err != nil {
			return err
		}
		switch kind {
		case frameNews:
			var n news
			if err = json.Unmarshal(payload, &n); err == nil {
				err = f.tell(n)
			}
		case frameEntry:
			err = f.apply(payload)
		case frameSnapshot:
			err = f.restore(payload, s.r)
		default:
			err = fmt.Errorf("frame of type %d", kind)
		}
		if err != nil {
			return err
		}
	}
}

// tell notes the news of a server, unless its mesh is another one than this node's.
func (f *follower) tell(n news) error {
	if !sameMesh(n.Mesh, f.View().MeshID()) {
		return f.complain(anotherMesh, nil)
	}
	if f.learn(n.Mesh, n.Era); n.Era < f.era.Load() {
		return f.complain(anotherEra, nil)
	}
	f.mu.Lock()
	before := f.news.Leader
	f.news, f.heard = n, time.Now()
	f.mu.Unlock()
	if n.Leader != before {
		f.board.stir()
	}
	return nil
}

// sameMesh says whether two IDs may be of one mesh. One that isn't known yet may be any.
func sameMesh(a, b string) bool { return a == b || a == "" || b == "" }

func (f *follower) apply(payload []byte) error {
	index, data, err := readEntry(payload)
	if err != nil {
		return err
	}
	switch have := f.machine.view().Index(); {
	case index <= have: // heard of another server while this one was being dialled
		return nil
	case index > have+1:
		return fmt.Errorf("command %d came after %d", index, have)
	}
	if _, err := f.machine.apply(data); err != nil {
		return f.complain(tooOld, err)
	}
	return f.complain("", nil)
}

// restore takes a snapshot, which the server sends only if this node can't go on from where it is.
func (f *follower) restore(head []byte, r io.Reader) error {
	var h snapshotHead
	if err := json.Unmarshal(head, &h); err != nil {
		return err
	}
	fresh := state.New()
	if err := fresh.Restore(&partReader{r: r}); err != nil {
		return err
	}
	have, got := f.machine.view(), fresh.View()
	switch mesh := f.View().MeshID(); {
	case positionOf(got) != h.At:
		return fmt.Errorf("a snapshot of %v is of %v", h.At, positionOf(got))
	case mesh != "" && got.MeshID() != mesh:
		return f.complain(anotherMesh, nil)
	case h.Replaced:
		f.log.Error("the mesh was recovered without what this node had heard of it", "heard", have.Index(), "mesh", got.Index())
		f.machine.set(fresh)
		f.board.replace(got)
		f.dropLease()
	case got.Index() > have.Index(): // else another server was faster
		f.board.show(f.machine.set(fresh))
	}
	return f.complain("", nil)
}

// complain notes what is wrong, once, and returns it as an error. "" is nothing.
func (f *follower) complain(problem string, why error) error {
	f.mu.Lock()
	before := f.problem
	f.problem = problem
	f.mu.Unlock()
	if problem == "" {
		return nil
	}
	if problem != before {
		f.log.Error(problem, "cause", why)
	}
	return errors.Join(errors.New(problem), why)
}
