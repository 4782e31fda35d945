package migrate

import "context"

// The points at which faults can be made to strike are named ROLE.STEP: the source's by the steps of the pipeline, and
// the target's by the same, each before what that end does at the step; and these in between.
const (
	seized   = "seized"   // at the source: CRIU holds the processes, no socket is read
	dumped   = "dumped"   // at the source: all is in the images
	gate     = "gate"     // at the target: all is restored and waits
	resume   = "resume"   // at the target: the mesh has agreed, the pod does not run yet
	complete = "complete" // at the target: the pod runs, and the mesh has not recorded it
)

// reach tells who wants to know that a move has come to a point, and goes on when that returns.
func (c Config) reach(ctx context.Context, role Role, step string) {
	if c.Reach != nil {
		c.Reach(ctx, string(role)+"."+step)
	}
}
