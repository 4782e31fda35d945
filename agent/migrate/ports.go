package migrate

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/drover-mesh/drover/state"
)

// Ledger is the mesh's committed state.
type Ledger interface {
	// Propose commits c and returns what became of it. An error means that the outcome is unknown: the
	// command may still be applied later. Commands are idempotent, so it may be proposed again.
	Propose(ctx context.Context, c state.Command) (state.Result, error)
	// View is the state as far as this node has heard.
	View() state.View
	// Watch signals that View may have changed, and falls silent with ctx.
	Watch(ctx context.Context) <-chan struct{}
}

// Source is the host that the pod leaves.
type Source interface {
	// Facts says what the pod needs of its next host, or refuses because it can't leave this one.
	Facts(ctx context.Context, pod state.Pod) (Facts, error)
	// Layer writes the blob of a read-only layer.
	Layer(ctx context.Context, d state.Digest, w io.Writer) error
	// Upper packs the pod's writable layer: each call writes what changed since the one before.
	Upper(pod state.Pod) (Upper, error)
	// Cutover readies the switch of the pod's packets to the target.
	Cutover(ctx context.Context, pod state.Pod, target string) (Cutover, error)
	// Dump starts CRIU and returns when it is about to touch the pod, which still runs.
	Dump(ctx context.Context, p Plan) (Dump, error)
	// Freeze stops the pod by the cgroup freezer and returns when all of it stands.
	Freeze(ctx context.Context, pod state.Pod) error
	// Thaw lets the pod go on here as if nothing had been: CRIU gone, egress open, route here, running.
	// It is idempotent and needs nothing from before a restart of the agent.
	Thaw(ctx context.Context, p Plan) error
	// Revive is Thaw of a copy that its peers have gone on without: the target was lost after it had taken the pod over. All
	// its TCP connections are ended before it runs, and before a packet of it leaves. Idempotent.
	Revive(ctx context.Context, p Plan) error
	// Retire destroys the frozen copy, without a packet of it reaching anyone. Idempotent.
	Retire(ctx context.Context, p Plan) error
}

// Upper ships a pod's writable layer in generations.
type Upper interface {
	// Pack writes what changed since the last Pack. final is set under the freeze.
	Pack(ctx context.Context, w io.Writer, final bool) error
}

// Cutover switches one pod's packets at its source. Each method takes well below a millisecond.
type Cutover interface {
	Divert() error                   // packets for the pod go to the target, which holds them
	Drain(ctx context.Context) error // waits, briefly, until the pod's sockets hold nothing unread or unsent
	ShutEgress() error               // nothing leaves the pod any more
	Close() error
}

// Dump is a CRIU dump that has not touched the pod yet.
type Dump interface {
	// Run dumps the frozen pod. onLock is called when its tasks are seized and no socket is read yet, onDumped
	// when all is in the images; the pod is left frozen.
	Run(ctx context.Context, onLock, onDumped func() error) error
	// Images yields each image file as soon as it is whole; closed when the dump has ended.
	Images() <-chan Image
	// Cancel ends the dump, whatever it is at, and waits until CRIU is gone.
	Cancel() error
}

// Image is a file of a checkpoint. Name says what it is, at both ends: a base name, or a directory's and a base name.
type Image struct{ Name, Path string }

// Target is the node that the pod goes to, as the departure calls it across the mesh.
type Target interface {
	Preflight(ctx context.Context, p Plan, f Facts) (Offer, error)
	Prepare(ctx context.Context, p Plan) error
	// Warm lets the path to the target find its speed, so that the final transfer has it from its first byte.
	Warm(ctx context.Context) error
	SendLayer(ctx context.Context, p Plan, d state.Digest, write func(io.Writer) error) error
	// SendUpper sends a generation of the writable layer. It waits for the target to have applied it, but not
	// for the final one: Restore names it.
	SendUpper(ctx context.Context, p Plan, final bool, write func(io.Writer) error) error
	// SendImages opens the stream of checkpoint images.
	SendImages(ctx context.Context, p Plan) (ImageWriter, error)
	// Restore tells the target what to wait for; then it goes on by itself.
	Restore(ctx context.Context, p Plan, m Manifest) (Milestones, error)
	// RTT is the smoothed round trip to the target.
	RTT() time.Duration
	// Sent is the number of bytes that this node has put on the wire to the target, of any move.
	Sent() int64
}

// ImageWriter sends checkpoint images, one after the other.
type ImageWriter interface {
	// Send sends the file.
	Send(ctx context.Context, i Image) (File, error)
	Close() error
}

// Milestones yields what the target reaches.
type Milestones interface {
	Next() (Milestone, error)
	Close() error
}

// Destination is the host that the pod comes to.
type Destination interface {
	// Check compares what the pod needs with what this host has.
	Check(ctx context.Context, p Plan, f Facts) (Offer, error)
	// Prepare makes the pod's network namespace, with its packets held, and room for what will arrive.
	Prepare(ctx context.Context, p Plan) error
	ImportLayer(ctx context.Context, p Plan, d state.Digest, r io.Reader) error
	ApplyUpper(ctx context.Context, p Plan, r io.Reader) error
	// CreateImage makes the file of a checkpoint image; see Image for its name.
	CreateImage(p Plan, name string) (io.WriteCloser, error)
	// Restore starts CRIU on what has arrived.
	Restore(ctx context.Context, p Plan) (Restore, error)
	// Release lets the held packets go to the pod, which runs, and makes the pod this node's own.
	Release(ctx context.Context, p Plan) error
	// Cancel kills what was restored, by this agent or an earlier one, without a packet telling of it. A pod that
	// may have run is left alone, and the error is ErrRan: so an agent learns what a Resume of unknown outcome
	// came to. After nil it has not run and never will. Idempotent.
	Cancel(ctx context.Context, p Plan) error
	// Discard removes all that has arrived, without a packet reaching anyone. Idempotent.
	Discard(ctx context.Context, p Plan) error
	// Destroy removes the pod, whether it has run or not, without a packet of it reaching anyone: another node owns it. Idempotent.
	Destroy(ctx context.Context, p Plan) error
	// Forget removes what only the move needed: the images.
	Forget(ctx context.Context, p Plan) error
}

// Restore is a pod that CRIU brings to life, up to its post-restore hook.
type Restore interface {
	Wait(ctx context.Context) error   // until everything is restored and waits for its verdict
	Resume(ctx context.Context) error // returns when the pod runs; an error leaves open whether it does
}

// ErrRan says that a restored pod runs, or has run.
var ErrRan = errors.New("the restored pod has run")
