package decide

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// TestTranscripts plays the stories in testdata: a move of pod redis from ams to fra, of which each line is something
// that happens to the source, the target or the mesh, and the indented lines below it are what the machines decide.
// Lines with # are for the reader. The mesh is the real state machine: "answered" carries out what was proposed last, so
// that a story can't tell of an answer that the mesh would not give. Run with -update to write the decisions anew, and
// read the difference.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			got := newStory(t).play(string(want))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(want), got, "the machines decide otherwise: run with -update, and read the difference")
		})
	}
}

// story is a mesh of three nodes, and the two ends of a move.
type story struct {
	t    *testing.T
	mesh *state.Machine
	move Move
	ends map[string]*end
	late map[string]state.Command // proposals of which nobody knows where they are, by who made them
}

// end is one end of the move, with all that outlives its machine.
type end struct {
	name    string
	machine interface{ Handle(Input) []Action }
	journal []Step
	asked   Propose // last
	over    bool
}

func newStory(t *testing.T) *story {
	s := &story{t: t, mesh: state.New(), ends: map[string]*end{}, late: map[string]state.Command{}}
	s.move = Move{ID: "m-1", Pod: "redis", UID: "u-1", Epoch: 2, Source: "ams", Target: "fra"}
	s.apply(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	for _, name := range []string{"ams", "fra", "nyc"} {
		s.apply(state.RegisterNode{Node: state.Node{Name: name, Site: name}})
	}
	return s
}

func (s *story) apply(c state.Command) {
	r := s.mesh.Apply(c)
	require.True(s.t, r.OK, r.Reason)
}

// play returns the text with every decision replaced by that of the machines.
func (s *story) play(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "    ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		who, what, ok := strings.Cut(line, ": ")
		require.True(s.t, ok, "a line without a colon: %q", line)
		for _, decision := range s.happens(who, strings.Fields(what)) {
			out.WriteString("    " + decision + "\n")
		}
	}
	return out.String()
}

func (s *story) happens(who string, words []string) []string {
	switch who {
	case "mesh":
		return s.meshDoes(words[0], words[1:])
	case "both":
		return s.goUpTo(words[len(words)-1])
	}
	if s.ends[who] == nil {
		s.ends[who] = &end{name: who}
		s.ends[who].machine = s.newMachine(who)
	}
	e := s.ends[who]
	if words[0] == "restarts" {
		e.machine, e.over = s.recovered(e), false
		return s.feed(e, Begin{})
	}
	require.False(s.t, e.over, "%s is over, and not fed any more", who)
	if words[0] == "answered" {
		return s.answered(e, words[1:])
	}
	return s.feed(e, s.input(words[0], words[1:]))
}

// usual is how every move begins, up to where both ends have recorded that the pod is to be restored.
const usual = `
source: begin
source: done preflight
source: recorded reserve
source: answered
target: begin
target: recorded prepare
target: done prepare
source: done reserve
source: recorded presync
source: done presync
source: recorded freeze
source: done freeze
source: recorded final
source: done final
source: recorded restore
target: arrived
target: recorded restore
`

// goUpTo goes through the usual beginning of a move until the source has recorded that step, with restore the target too.
func (s *story) goUpTo(step string) (decisions []string) {
	beginning, _, ok := strings.Cut(usual, "source: done "+step)
	require.True(s.t, ok || step == "restore", "no step of the beginning: %s", step)
	for _, line := range strings.Fields(strings.ReplaceAll(strings.TrimSpace(beginning), " ", "_")) {
		who, what, _ := strings.Cut(strings.ReplaceAll(line, "_", " "), ": ")
		decisions = s.happens(who, strings.Fields(what))
	}
	return decisions
}

func (s *story) newMachine(who string) interface{ Handle(Input) []Action } {
	if who == "source" {
		return NewSource(s.move)
	}
	return NewTarget(s.move)
}

func (s *story) recovered(e *end) interface{ Handle(Input) []Action } {
	if e.name == "source" {
		return RecoverSource(s.move, e.journal)
	}
	return RecoverTarget(s.move, e.journal)
}

// answered carries out what an end has proposed, or does not: "nothing": it is on its way, and nobody knows; "unknown":
// it was carried out, and nobody has told.
func (s *story) answered(e *end, how []string) []string {
	require.NotZero(s.t, e.asked.Ask, "%s has proposed nothing", e.name)
	ask, command := e.asked.Ask, e.asked.Command
	switch strings.Join(how, " ") {
	case "nothing":
		s.late[e.name] = command
		return s.feed(e, Unknown{ask})
	case "unknown":
		r := s.mesh.Apply(command)
		return append([]string{"unheard: " + answerText(r)}, s.feed(e, Unknown{ask})...)
	}
	r := s.mesh.Apply(command)
	return append([]string{answerText(r)}, s.feed(e, Answered{ask, r})...)
}

// feed gives a machine an input, and says what it decides.
func (s *story) feed(e *end, in Input) (decisions []string) {
	for _, a := range e.machine.Handle(in) {
		s.check(a)
		switch a := a.(type) {
		case Propose:
			e.asked = a
		case RemoveJournal:
			e.journal = nil
		case Finish:
			e.over = true
		}
		decisions = append(decisions, actionText(a))
	}
	if r, ok := in.(Recorded); ok {
		e.journal = append(e.journal, r.Step)
	}
	return decisions
}

// check is what no machine may decide, whatever it was told.
func (s *story) check(a Action) {
	do, _ := a.(Do)
	pod, _ := s.mesh.View().Pod(s.move.Pod)
	record, _ := s.mesh.View().Migration(s.move.ID)
	switch do.Step {
	case Thaw, Revive:
		require.Equal(s.t, s.move.Source, pod.Node, "the source lets a pod run that is not its own")
	case Resume:
		require.Equal(s.t, s.move.Target, pod.Node, "the target lets a pod run that is not its own")
	case Retire:
		require.NotEqual(s.t, s.move.Source, pod.Node)
		require.False(s.t, record.Phase.Open(), "a frozen copy is destroyed that may be needed again")
	}
}

func (s *story) input(verb string, words []string) Input {
	rest := strings.Join(words, " ")
	step, why := "", ""
	if len(words) > 0 {
		step, why = words[0], strings.Join(words[1:], " ")
	}
	switch verb {
	case "begin":
		return Begin{}
	case "recorded":
		return Recorded{Step(step)}
	case "unwritten":
		return RecordFailed{Step(step), why}
	case "done":
		return Done{Step(step)}
	case "failed":
		return Failed{Step(step), why}
	case "ran":
		return Ran{Step(step)}
	case "cancelled":
		return Cancelled{rest}
	case "reached":
		return Reached{Milestone(step)}
	case "lost":
		return Lost{rest}
	case "heard":
		return Heard{}
	case "arrived":
		return Arrived{}
	case "fired":
		return Fired{Timer(rest)}
	case "lease":
		return Lease{rest == "valid"}
	case "sees":
		return s.seen()
	}
	s.t.Fatalf("nothing in a story is called %q", verb)
	return nil
}

func (s *story) seen() Seen {
	var in Seen
	if g, ok := s.mesh.View().Migration(s.move.ID); ok {
		in.Migration = &g
	}
	if p, ok := s.mesh.View().Pod(s.move.Pod); ok {
		in.Pod = &p
	}
	return in
}

// meshDoes has the mesh carry out what comes neither from the source nor from the target.
func (s *story) meshDoes(verb string, words []string) []string {
	node := s.move.Source
	switch verb {
	case "has", "leases": // a pod that runs at the source; with leases one that others may take over
		c := state.CreatePod{Name: "redis", UID: "u-1", Manifest: []byte(`{}`), Node: node, Created: time.Unix(1, 0), Containers: []state.Container{
			{Name: "main", Layers: []state.Digest{"sha256:" + state.Digest(strings.Repeat("ab", 32))}},
		}}
		if verb == "leases" {
			c.Failover, s.move.Leased = state.FailoverRestart, true
			s.apply(state.Reign{Server: "nyc", Term: 1})
		}
		s.apply(c)
		return []string{"pod redis at ams in epoch 1"}
	case "late": // what an end had proposed
		c := s.late[words[0]]
		require.NotNil(s.t, c, "nothing of %s is on its way", words[0])
		return []string{kindText(c) + ": " + answerText(s.mesh.Apply(c))}
	case "gives": // gives up the node that owns the pod
		commands, _ := state.Failovers(s.mesh.View(), state.Loss{Nodes: words[1:], Term: 1, At: time.Unix(2, 0)})
		require.Len(s.t, commands, 1)
		return []string{kindText(commands[0]) + ": " + answerText(s.mesh.Apply(commands[0]))}
	}
	s.t.Fatalf("the mesh can't %q", verb)
	return nil
}

func kindText(c state.Command) string {
	if r, ok := c.(state.Return); ok && r.Ran {
		return "Return, it may have run"
	}
	return string(c.Kind())
}

func answerText(r state.Result) string {
	text := "the mesh agrees"
	if !r.OK {
		text = "the mesh refuses (" + r.Reason + ")"
	}
	if r.Migration != nil {
		text += ": " + string(r.Migration.Phase)
	}
	if r.Pod != nil {
		text += fmt.Sprintf(", redis at %s in epoch %d", r.Pod.Node, r.Pod.Epoch)
	}
	return text
}

func actionText(a Action) string {
	switch a := a.(type) {
	case Record:
		return "record " + string(a.Step)
	case Do:
		return "do " + string(a.Step)
	case Stop:
		return "stop what goes on"
	case Propose:
		return "propose " + kindText(a.Command)
	case Tell:
		return strings.TrimSuffix("tell the source: "+string(a.Milestone)+": "+a.Why, ": ")
	case SetTimer:
		return fmt.Sprintf("%s in %s", a.Timer, a.After)
	case RemoveJournal:
		return "remove the journal"
	case Finish:
		text := "finish: " + string(a.Outcome)
		if a.Step != "" {
			text += ", at " + string(a.Step)
		}
		if a.Why != "" {
			text += ": " + a.Why
		}
		return text
	}
	return fmt.Sprintf("%T", a)
}
