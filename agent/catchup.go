package agent

import (
	"context"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

// catchUpPatience is how long an answer waits for a node that has just started to catch up with the mesh. Without a
// majority it never does; then what it remembers is better than nothing.
const catchUpPatience = 3 * time.Second

// catchUp tells whether this node has heard all that was committed before it started: until then the committed state that
// it sees is that of some earlier time.
type catchUp struct {
	once sync.Once
	done chan struct{}
}

func newCatchUp() *catchUp { return &catchUp{done: make(chan struct{})} }

// reached says that it has.
func (c *catchUp) reached() { c.once.Do(func() { close(c.done) }) }

// wait returns when it has, or after catchUpPatience, or when ctx ends.
func (c *catchUp) wait(ctx context.Context) {
	patience := time.NewTimer(catchUpPatience)
	defer patience.Stop()
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-patience.C:
	}
}

// view is the committed state for an answer; what says to what. A node that has heard nothing yet must not say that there
// is nothing.
func (b *backend) view(ctx context.Context, what string) (state.View, error) {
	b.catchUp.wait(ctx)
	v := b.quorum.View()
	if v.Index() == 0 {
		return v, api.Errorf(api.Unavailable, what, "this node has just started, and has not heard of the mesh yet").
			WithCure("try again in some seconds; if that lasts, see drover status")
	}
	return v, nil
}
