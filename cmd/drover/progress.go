package main

import (
	"fmt"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
)

// worthTelling is from how many bytes on a step has sent something. Connections that are kept alive send some hundred a
// second all the time.
const worthTelling = 16 << 10

// progress shows a move as it goes on: a line a step when it ends and, on a terminal, the running step in place.
type progress struct{ screen }

// Started shows what moves where.
func (p *progress) Started(m api.Move) {
	p.line("%s: %s -> %s (%s)", m.Pod, m.From, m.To, m.Mode)
}

// Event shows what happened to a step.
func (p *progress) Event(e api.Event) {
	switch e.State {
	case api.StepStarted, api.StepProgress:
		p.overwrite(strings.TrimRight(fmt.Sprintf("  %-9s  %8s  %s", e.Step, "...", transferred(e)), " "))
	case api.StepDone:
		note := e.Note
		if note == "" && e.BytesDone >= worthTelling {
			note = size(e.BytesDone)
		}
		p.line("  %-9s  %8s  %s", e.Step, milliseconds(e.MS), note)
	case api.StepFailed:
		p.line("  %-9s  %8s  failed on %s: %s", e.Step, milliseconds(e.MS), e.Node, e.Note)
	case api.StepUndone:
		p.line("  %-9s  %8s  %s", e.Step, "undone", e.Note)
	}
}

// transferred is how far a step's transfer is.
func transferred(e api.Event) string {
	if e.BytesTotal > 0 {
		return fmt.Sprintf("%s of %s (%d %%)", size(e.BytesDone), size(e.BytesTotal), min(100*e.BytesDone/e.BytesTotal, 100))
	}
	if e.BytesDone > 0 {
		return size(e.BytesDone)
	}
	return e.Note
}

// summary is a finished move in a sentence.
func summary(r api.Report) string {
	return fmt.Sprintf("%s runs on %s. Downtime %s; %s sent in %s.",
		r.Pod, r.To, milliseconds(r.DowntimeMS), size(r.BytesSent), duration(r.TotalMS))
}

// duration is a time as people say it.
func duration(ms float64) string {
	if ms < 1000 {
		return milliseconds(ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// silent is a Progress that shows nothing.
type silent struct{}

// Started shows nothing.
func (silent) Started(api.Move) {}

// Event shows nothing.
func (silent) Event(api.Event) {}
