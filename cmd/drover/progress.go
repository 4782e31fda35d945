package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
)

// inPlace is how wide a line may be that is to be overwritten: one that wraps can't be.
const inPlace = 79

// worthTelling is from how many bytes on a step has sent something. Connections that are kept alive send some hundred a
// second all the time.
const worthTelling = 16 << 10

// progress shows a move as it goes on: a line a step when it ends and, on a terminal, the running step in place.
type progress struct {
	out  io.Writer
	tty  bool
	live bool // the last line shows a running step, to be overwritten
}

// Started shows what moves where.
func (p *progress) Started(m api.Move) {
	p.line("%s: %s -> %s (%s)", m.Pod, m.From, m.To, m.Mode)
}

// Event shows what happened to a step.
func (p *progress) Event(e api.Event) {
	switch e.State {
	case api.StepStarted, api.StepProgress:
		if p.tty {
			p.clear()
			p.overwrite(strings.TrimRight(fmt.Sprintf("  %-9s  %8s  %s", e.Step, "...", transferred(e)), " "))
		}
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

// line writes a line that stays.
func (p *progress) line(format string, args ...any) {
	p.clear()
	fmt.Fprintln(p.out, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// overwrite writes a line that is to be overwritten.
func (p *progress) overwrite(text string) {
	line := []rune(text)
	fmt.Fprint(p.out, string(line[:min(len(line), inPlace)]))
	p.live = true
}

// clear removes the running step's line: carriage return and ECMA-48's erase in line.
func (p *progress) clear() {
	if p.live {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.live = false
	}
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
