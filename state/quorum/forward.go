package quorum

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/drover-mesh/drover/state"
)

// MaxForward is the largest message that Forward has to carry, in bytes, in either direction: an answer may
// hold a pod's manifest, and a command in JSON grows by a third.
const MaxForward = 2 * state.MaxCommand

// request asks for one of some things: the leader, if nothing else is said.
type request struct {
	// Command is an encoded command to commit.
	Command []byte `json:"command,omitempty"`
	// Barrier asks which index has all that is committed.
	Barrier bool `json:"barrier,omitempty"`
	// Join is about a server that wants a vote, or wants to know whether it still has one.
	Join *joining `json:"join,omitempty"`
	// Leave is a plain node that was a server.
	Leave string `json:"leave,omitempty"`
	// Renew is a node that wants a lease.
	Renew *renewal `json:"renew,omitempty"`
	// Confirm asks a server for Raft's term, as the server that gets it knows it.
	Confirm bool `json:"confirm,omitempty"`
	// Who asks whoever gets the request for its standing.
	Who bool `json:"who,omitempty"`
	// Mesh is the ID of the mesh that the asking node is in, as far as it knows.
	Mesh string `json:"mesh,omitempty"`
	// Era is the latest of its eras that it has heard of.
	Era uint64 `json:"era,omitempty"`
	// Relay allows a node that doesn't lead to pass the request on, once.
	Relay bool `json:"relay,omitempty"`
}

// answer is the leader's, or the relay's if it failed.
type answer struct {
	Result *state.Result `json:"result,omitempty"`
	Index  uint64        `json:"index,omitempty"`
	// Member is what the one who joins or leaves has in Raft's configuration: "voter", "nonvoter" or "". Server says
	// that the committed state knows it as a server.
	Member string `json:"member,omitempty"`
	Server bool   `json:"server,omitempty"`
	// Grant answers Renew.
	Grant *grant `json:"grant,omitempty"`
	// Term answers Confirm.
	Term uint64 `json:"term,omitempty"`
	// Era is that of the mesh which the one who joins will be in.
	Era uint64 `json:"era,omitempty"`
	// Standing answers Who.
	Standing *standing `json:"standing,omitempty"`

	Error string `json:"error,omitempty"`
	// NotProposed goes with an Error that Is ErrNotProposed.
	NotProposed bool `json:"notProposed,omitempty"`
}

// forward sends a request to a node and returns its answer.
func (q *Quorum) forward(ctx context.Context, node string, r request) (answer, error) {
	r.Mesh, r.Era = q.View().MeshID(), q.era.Load()
	data, err := encode(r)
	if err != nil {
		return answer{}, fmt.Errorf("encoding a request: %w", notProposed(err))
	}
	reply, err := q.cfg.Forward(ctx, node, data)
	if err != nil {
		return answer{}, fmt.Errorf("forwarding to %s: %w", node, err)
	}
	var a answer
	if err := strict(reply, &a); err != nil {
		return answer{}, fmt.Errorf("reading the answer of %s: %w", node, err)
	}
	switch {
	case a.NotProposed:
		return answer{}, fmt.Errorf("%s: %w: %s", node, ErrNotProposed, a.Error)
	case a.Error != "":
		return answer{}, fmt.Errorf("%s: %s", node, a.Error)
	case r.Command != nil && a.Result == nil:
		return answer{}, fmt.Errorf("%s answered without a result", node)
	}
	return a, nil
}

// HandleForward serves the other side of Config.Forward: data is what Forward was given on another node of
// the mesh, which the caller has authenticated. An error means that data is no request; all else that may
// go wrong is in the answer.
func (q *Quorum) HandleForward(ctx context.Context, data []byte) ([]byte, error) {
	var r request
	if err := strict(data, &r); err != nil {
		return nil, fmt.Errorf("reading a forwarded request: %w", err)
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("a forwarded request: %w", err)
	}
	a, err := q.handle(ctx, r)
	if err != nil {
		a = answer{Error: err.Error(), NotProposed: errors.Is(err, ErrNotProposed)}
	}
	return encode(a)
}

// validate keeps out of the log what the machine could not decode.
func (r request) validate() error {
	asked := 0
	for _, is := range []bool{r.Command != nil, r.Barrier, r.Join != nil, r.Leave != "", r.Renew != nil, r.Confirm, r.Who} {
		if is {
			asked++
		}
	}
	if asked != 1 {
		return fmt.Errorf("it asks for %d things", asked)
	}
	if r.Command != nil {
		_, c, err := state.Decode(r.Command)
		if err == nil {
			err = leadersOwn(c)
		}
		return err
	}
	return nil
}

func (q *Quorum) handle(ctx context.Context, r request) (answer, error) {
	if q.ctx.Err() != nil {
		return answer{}, notProposed(errClosed)
	}
	if r.Mesh != "" {
		q.learn(r.Mesh, r.Era)
	}
	if r.Who {
		return answer{Standing: q.standing()}, nil
	}
	if err := q.ofToday(r); err != nil {
		return answer{}, err
	}
	leader, s := q.Leader(), q.seat.Load()
	leads, mesh := s != nil && s.leads(), q.View().MeshID()
	switch {
	case !sameMesh(r.Mesh, mesh) || leads && r.Mesh != "" && r.Mesh != mesh:
		return answer{}, fmt.Errorf("%w: %s is in another mesh", ErrNotProposed, q.cfg.Node)
	case r.Confirm && s == nil:
		return answer{}, fmt.Errorf("%w: %s is no server", ErrNotProposed, q.cfg.Node)
	case r.Confirm:
		return answer{Term: s.raft.CurrentTerm()}, nil
	case leads:
		return s.serve(ctx, r)
	case leader != "" && leader != q.cfg.Node && r.Relay:
		r.Relay = false
		return q.forward(ctx, leader, r)
	case leader != "" && leader != q.cfg.Node:
		return answer{}, fmt.Errorf("%w: %s is not the leader, it follows %s", ErrNotProposed, q.cfg.Node, leader)
	}
	return answer{}, fmt.Errorf("%w: %s knows no leader", ErrNotProposed, q.cfg.Node)
}

// encode leaves a manifest's bytes as they are: no escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// strict decodes one value without unknown fields, of MaxForward bytes at most.
func strict(data []byte, v any) error {
	if len(data) > MaxForward {
		return fmt.Errorf("%d bytes are more than the limit of %d", len(data), MaxForward)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows it")
	}
	return nil
}
