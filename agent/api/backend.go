package api

import (
	"context"
	"io"
	"time"
)

// Backend answers the requests that the handler doesn't forward to another node. Its methods may be called concurrently.
// Errors should be an *Error, which says what, why and the cure; any other becomes one of code Internal.
type Backend interface {
	API
	// PlacePod checks a manifest and returns the name of the node that is to run it: node if it isn't empty (a name
	// that the caller gave), else the manifest's nodeName, else that which the scheduler chooses. If the pod fits nowhere
	// the error says for each node why.
	PlacePod(ctx context.Context, manifest []byte, node string) (string, error)
}

// API is the control API in Go. A Client has it by asking an agent, a Backend by being one.
type API interface {
	Pods
	Images
	Mesh
	Nodes
	Migrations
	Containers
	Volumes
	Enrolment
}

// Pods runs, shows and removes pods. A Backend is asked to run a pod only if PlacePod named its node, and for the logs
// or removal of a pod only if GetPod says that its node owns it.
type Pods interface {
	// RunPod creates a pod from a v1 Pod (YAML or JSON) on the node, "" meaning any, and returns it when it runs.
	RunPod(ctx context.Context, manifest []byte, node string) (Pod, error)
	// ListPods returns all pods of the mesh, or those of the asked node only. A backend needs to know the phase of its
	// own only; it says PodUnknown of others. The caller owns the slice.
	ListPods(ctx context.Context, local bool) ([]Pod, error)
	// GetPod returns a pod with its manifest; of one that another node owns, what the committed state says.
	GetPod(ctx context.Context, name string) (Pod, error)
	// PodLogs writes the lines that a container has written, oldest first. With Follow it goes on; a client's until the pod
	// is gone or has ended or ctx ends, a backend's at most until the pod leaves its node.
	PodLogs(ctx context.Context, name string, o LogOptions, w LogWriter) error
	// StopPod ends the pod's processes, after grace (below 0: the manifest's) by force, and keeps everything else.
	StopPod(ctx context.Context, name string, grace time.Duration) error
	// StartPod starts a stopped pod from its beginning, with the files that it had.
	StartPod(ctx context.Context, name string) error
	// RemovePod stops a pod and removes it with everything it wrote. It returns when it is gone.
	RemovePod(ctx context.Context, name string) error
}

// Containers reaches into the containers of running pods. A Backend is asked for pods of its own node only.
type Containers interface {
	// Exec runs a command and returns its exit code, 128 + n after signal n. When ctx ends the command is ended.
	Exec(ctx context.Context, e Exec) (code int, err error)
	// CopyFrom writes a tar of a file or directory; its entries' names begin with the base name of the path.
	CopyFrom(ctx context.Context, at Path, tar io.Writer) error
	// CopyTo unpacks a tar in a directory.
	CopyTo(ctx context.Context, at Path, tar io.Reader) error
}

// Volumes shows and removes named volumes. A Backend is asked to remove only those that lie on its node.
type Volumes interface {
	ListVolumes(ctx context.Context) ([]Volume, error)
	// RemoveVolume deletes a volume that no pod uses, with its files.
	RemoveVolume(ctx context.Context, name string) error
}

// Mesh shows the mesh as the asked node sees it.
type Mesh interface {
	GetStatus(ctx context.Context) (Status, error)
}

// Nodes shows and changes nodes, and says where pods may run. A Backend is asked to drain and undrain only its own node.
type Nodes interface {
	ListNodes(ctx context.Context) ([]Node, error)
	// GetNode returns a node with its pods. A backend says PodUnknown of the pods of others.
	GetNode(ctx context.Context, name string) (NodeDetails, error)
	LabelNode(ctx context.Context, name string, change LabelChange) (Node, error)
	// CordonNode closes a node to pods, or opens it again.
	CordonNode(ctx context.Context, name string, cordoned bool) (Node, error)
	// RemoveNode makes the mesh forget a node.
	RemoveNode(ctx context.Context, name string, o RemoveNodeOptions) (Removal, error)
	// DrainNode cordons a node and moves its pods away. It returns when each pod has had its turn, or when ctx ends, the
	// moves that have begun being over. The report is whole also with an error: that some pods stay (FailedPrecondition),
	// that a move had to be undone, or that the drain was cancelled (Aborted).
	DrainNode(ctx context.Context, node string, o DrainOptions, progress DrainProgress) (DrainReport, error)
	// UndrainNode uncordons a node. If o says so it moves back the pods that drains moved away, as DrainNode moves them.
	UndrainNode(ctx context.Context, node string, o DrainOptions, progress DrainProgress) (DrainReport, error)
	// CancelDrain ends the drain or undrain of a node: moves that have begun are undone.
	CancelDrain(ctx context.Context, node string) error
	// Explain says where a pod could run: one that is there, by its name, or else that of a manifest. to is a node or site
	// that is asked for, "" for any.
	Explain(ctx context.Context, pod string, manifest []byte, to string) (Explanation, error)
}

// Migrations moves pods. A Backend is asked to migrate a pod only if its node owns it, and to cancel a migration only if
// its node is the source.
type Migrations interface {
	// Migrate moves a pod to a node or site, tells progress what happens and returns when the move is over: done, or
	// undone and an error (Aborted) that names step, node and reason. When ctx ends it cancels the move as
	// CancelMigration does, and still returns only when it is over.
	Migrate(ctx context.Context, pod, to string, progress Progress) (Report, error)
	// Preflight tells whether Migrate would move the pod there, and changes nothing. That it wouldn't is no error.
	Preflight(ctx context.Context, pod, to string) (Preflight, error)
	// CancelMigration gives up the open migration of that id, or of the pod of that name, and returns it when that is decided: Aborted,
	// or FailedPrecondition if it is past its point of no return.
	CancelMigration(ctx context.Context, name string) (Migration, error)
	// ListMigrations returns the open migrations and the last finished ones, oldest first.
	ListMigrations(ctx context.Context) ([]Migration, error)
	GetMigration(ctx context.Context, id string) (Migration, error)
}

// Progress is told how a migration goes on. Its methods are called one at a time and must not block for long.
type Progress interface {
	// Started is called once, before any event.
	Started(Move)
	Event(Event)
}
