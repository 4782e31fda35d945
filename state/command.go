package state

import "fmt"

// A Command asks the machine for one change. The commands are the structs of this package that have a
// Kind; each file named after one says what it does and when it is refused.
type Command interface {
	// Kind names the command in an encoded envelope.
	Kind() Kind
	// apply changes the machine, or refuses and changes nothing.
	apply(*Machine) Result
}

// A Kind names a type of command.
type Kind string

// The kinds of commands.
const (
	KindRegisterNode     Kind = "RegisterNode"
	KindForgetNode       Kind = "ForgetNode"
	KindLabelNode        Kind = "LabelNode"
	KindCordonNode       Kind = "CordonNode"
	KindSetMesh          Kind = "SetMesh"
	KindCreateToken      Kind = "CreateToken"
	KindUseToken         Kind = "UseToken"
	KindRevokeToken      Kind = "RevokeToken"
	KindCreatePod        Kind = "CreatePod"
	KindMarkDeleting     Kind = "MarkDeleting"
	KindStopPod          Kind = "StopPod"
	KindDeletePod        Kind = "DeletePod"
	KindDeleteVolume     Kind = "DeleteVolume"
	KindReserve          Kind = "Reserve"
	KindActivate         Kind = "Activate"
	KindAbort            Kind = "Abort"
	KindReturn           Kind = "Return"
	KindComplete         Kind = "Complete"
	KindReign            Kind = "Reign"
	KindFailover         Kind = "Failover"
	KindAbortAndFailover Kind = "AbortAndFailover"
	KindStartOver        Kind = "StartOver"
)

// A Result is the machine's answer. A refusal is an answer, not an error: it is committed, and final.
type Result struct {
	// OK says that the command won: what it asked for is so.
	OK bool `json:"ok"`
	// Reason says, for people, why the command was refused.
	Reason string `json:"reason,omitempty"`
	// Cure says, for people, what to do about a refusal; it may be empty.
	Cure string `json:"cure,omitempty"`
	// Pod and Migration are those that the command was about, as they are after it; nil if there are none.
	Pod       *Pod       `json:"pod,omitempty"`
	Migration *Migration `json:"migration,omitempty"`
	// Enrolment is that of the node that [UseToken] admitted, as it is after it; nil of other commands.
	Enrolment *Enrolment `json:"enrolment,omitempty"`
}

func (r Result) withCure(cure string) Result {
	r.Cure = cure
	return r
}

func refused(format string, args ...any) Result {
	return Result{Reason: fmt.Sprintf(format, args...)}
}

func unknownPod(name string) string  { return fmt.Sprintf("there is no pod %s", name) }
func unknownNode(name string) string { return fmt.Sprintf("node %s is not known to the mesh", name) }
