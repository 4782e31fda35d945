package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// A trace tells what happened. The sum of it is always kept, the text only if somebody wants to read it.
type trace struct {
	keep  bool
	lines []string
	sum   uint64
}

func newTrace(keep bool) *trace { return &trace{keep: keep} }

func (t *trace) event(now time.Duration, who, what string) {
	t.add(uint64(now))
	t.addText(who)
	t.addText(what)
	if t.keep {
		t.lines = append(t.lines, fmt.Sprintf("%11.6f  %-12s %s", now.Seconds(), who, what))
	}
}

// note says more about the event that is being delivered.
func (t *trace) note(format string, args ...any) {
	if t.keep {
		t.lines = append(t.lines, fmt.Sprintf("%26s"+format, append([]any{""}, args...)...))
	}
}

// FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
const fnvPrime = 1099511628211

func (t *trace) add(x uint64) { t.sum = (t.sum ^ x) * fnvPrime }

func (t *trace) addText(s string) {
	for i := range len(s) {
		t.add(uint64(s[i]))
	}
}

// plain shows a value of another package without that package's name.
func plain(v any) string {
	kind := fmt.Sprintf("%T", v)
	return fmt.Sprintf("%s %+v", kind[strings.LastIndexByte(kind, '.')+1:], v)
}

// input shows what a machine hears. Records are told in words: where they lie in memory is nobody's business.
func input(in decide.Input) string {
	switch in := in.(type) {
	case decide.Answered:
		return fmt.Sprintf("answered %d: %s %s", in.Ask, verdict(in.Result), records(in.Result.Migration, in.Result.Pod))
	case decide.Seen:
		return "sees " + records(in.Migration, in.Pod)
	}
	return plain(in)
}

func verdict(r state.Result) string {
	if r.OK {
		return "won"
	}
	return "refused: " + r.Reason + ":"
}

func records(g *state.Migration, pod *state.Pod) string {
	text := "no migration"
	if g != nil {
		text = g.String() + " " + string(g.Phase)
	}
	if pod == nil {
		return text + ", no pod"
	}
	return fmt.Sprintf("%s, %s at %s in epoch %d, moving by %q", text, pod.Name, pod.Node, pod.Epoch, pod.Migration)
}
