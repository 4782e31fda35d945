package api

// Node is a member of the mesh as the asked node sees it.
type Node struct {
	Name      string            `json:"name"`
	Site      string            `json:"site"`
	Address   string            `json:"address"` // QUIC
	Gossip    string            `json:"gossip"`
	State     NodeState         `json:"state"`
	Cordoned  bool              `json:"cordoned"`
	Role      string            `json:"role"` // leader, voter, joining (a server without a vote yet) or plain
	Version   string            `json:"version"`
	Arch      string            `json:"arch"`
	Kernel    string            `json:"kernel"`
	CRIU      string            `json:"criu"`
	RTTms     float64           `json:"rtt_ms"` // 0 is unknown
	Pods      int               `json:"pods"`
	Capacity  Resources         `json:"capacity"`  // zero is unknown
	Requested Resources         `json:"requested"` // by its pods, and by those that come or go just now
	Labels    map[string]string `json:"labels"`    // all: its own, those of its configuration and of operators
}

// Resources are an amount of what pods request and nodes have.
type Resources struct {
	CPUMilli    int64 `json:"cpu_milli"` // thousandths of a core
	MemoryBytes int64 `json:"memory_bytes"`
}

// NodeState is how a node fares according to gossip.
type NodeState string

// The states of a node. NodeUnknown is a node that is registered but was never heard of.
const (
	NodeAlive   NodeState = "alive"
	NodeSuspect NodeState = "suspect"
	NodeDead    NodeState = "dead"
	NodeLeft    NodeState = "left"
	NodeUnknown NodeState = "unknown"
)

// NodeDetails is a node with all that is known of it.
type NodeDetails struct {
	Node
	Draining bool        `json:"draining"` // only the node itself knows
	CPUFlags []string    `json:"cpu_flags"`
	PodList  []NodePod   `json:"pod_list"`
	Drained  []string    `json:"drained"` // pods that drains moved away, and that nobody has moved since
	Moves    []Migration `json:"moves"`   // the open ones that it takes part in
}

// NodePod is a pod in the list of its node.
type NodePod struct {
	Name      string    `json:"name"`
	Phase     PodPhase  `json:"phase"`
	Requested Resources `json:"requested"`
	Pinned    string    `json:"pinned"` // why it can't leave the node; "" if it can
}

// LabelChange changes the labels that operators give to a node: Remove first, then Set.
type LabelChange struct {
	Set       map[string]string
	Remove    []string
	Overwrite bool // allows to change the value of a label that is set already
}

// RemoveNodeOptions say what may go with a node.
type RemoveNodeOptions struct {
	Force      bool // it may be alive
	DeletePods bool // its pods and volumes, if it is lost
}

// Removal is what went with a node.
type Removal struct {
	Node    string   `json:"node"`
	Pods    []string `json:"lost_pods"`
	Volumes []string `json:"lost_volumes"`
}

// DrainOptions say how a node is drained, or how its pods are moved back.
type DrainOptions struct {
	Parallel  int    // pods that move at a time; 0 is one
	To        string // node or site that the pods are to go to, "" is any; not of Undrain
	TimeoutMS int64  // after this it is cancelled; 0 is never
	DryRun    bool   // only says what it would do
	Return    bool   // of Undrain: moves pods back, instead of only uncordoning
}

// DrainedPod is what became of a pod.
type DrainedPod struct {
	Pod      string       `json:"pod"`
	From     string       `json:"from"`
	To       string       `json:"to"` // where it went or would go; "" if it goes nowhere
	Outcome  DrainOutcome `json:"outcome"`
	Reason   string       `json:"reason"`           // why it stays
	Cure     string       `json:"cure"`             // what to do about that
	Nodes    []NodeReason `json:"nodes"`            // for each node why it isn't suited, if none is
	Refusals []Refusal    `json:"refusals"`         // what of the pod itself keeps it from moving
	Report   *Report      `json:"report,omitempty"` // of the move
}

// NodeReason says why a node isn't suited for a pod.
type NodeReason struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// DrainOutcome is how a pod's turn ended.
type DrainOutcome string

// The outcomes of a pod's turn.
const (
	DrainMoved     DrainOutcome = "moved"
	DrainWouldMove DrainOutcome = "would-move" // in a dry run
	DrainStays     DrainOutcome = "stays"
)

// DrainReport is what a drain came to.
type DrainReport struct {
	Node     string       `json:"node"`
	Cordoned bool         `json:"cordoned"`
	Pods     []DrainedPod `json:"pods"`    // those that had their turn, in the order of their ends
	Stopped  string       `json:"stopped"` // why it ended before each pod had its turn; "" if it did not
}

// Stayed returns how many pods were not moved.
func (r DrainReport) Stayed() int {
	n := 0
	for _, p := range r.Pods {
		if p.Outcome == DrainStays {
			n++
		}
	}
	return n
}

// DrainProgress is told how a drain goes on. Its methods are called one at a time and must not block for long.
type DrainProgress interface {
	// Planned names the pods that are to be moved, in order. It is called once, first.
	Planned(pods []string)
	// Started says that a move has begun. If its target refuses, the pod's next move has another.
	Started(Move)
	// Event is something that happened to the move of a pod.
	Event(pod string, e Event)
	// Ended says what became of a pod.
	Ended(DrainedPod)
}

// Explanation says where a pod may run.
type Explanation struct {
	Pod    string      `json:"pod"`
	Node   string      `json:"node"`   // where it is; "" if it isn't made yet
	Target string      `json:"target"` // where it would go; "" if it fits nowhere
	Nodes  []Candidate `json:"nodes"`  // those that fit, the best first, then the others
	Lost   string      `json:"lost"`   // what becomes of it now that its node doesn't answer, for people; "" if it does
}

// Candidate is a node as the scheduler sees it.
type Candidate struct {
	Node    string   `json:"node"`
	Site    string   `json:"site"`
	Fits    bool     `json:"fits"`
	Score   int      `json:"score"`   // 0 to 100
	Reasons []string `json:"reasons"` // why it doesn't fit, or what the score comes from
}
