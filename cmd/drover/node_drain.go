package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) nodeDrain() *cobra.Command {
	var o api.DrainOptions
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move every pod of a node away, running, and keep others from coming",
		Long: `Cordons a node and moves its pods away, one after the other or some at a time, each to the node that suits it
best at that moment. A pod that can't be moved is named, with the reason, and doesn't stop the others.

Ctrl-C undoes the moves that have begun, and begins no more; a second Ctrl-C, or a lost terminal, leaves at once,
and the moves that have begun come to their end. The node stays cordoned. drover node undrain opens it again.

Exit codes: 0 no pod is left on it; 5 it was cancelled or took too long; 6 some pods stay.`,
		Example: "  drover node drain fra\n  drover node drain fra --dry-run\n  drover node drain fra --parallel 4 --to ams --timeout 30m",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.TimeoutMS = timeout.Milliseconds()
			return c.drain(cmd.Context(), args[0], o, (*api.Client).DrainNode)
		},
	}
	c.drainFlags(cmd, &o, &timeout)
	cmd.Flags().StringVar(&o.To, "to", "", "the `site or node` that the pods go to (default: any)")
	return cmd
}

func (c *cli) nodeUndrain() *cobra.Command {
	var o api.DrainOptions
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "undrain NODE",
		Short: "Open a drained node again, and with --return move its pods back",
		Long: `Uncordons a node. With --return it also moves back the pods that left it while it was cordoned, except those that
somebody has moved on purpose since.`,
		Example: "  drover node undrain fra\n  drover node undrain fra --return --parallel 2",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.TimeoutMS = timeout.Milliseconds()
			return c.drain(cmd.Context(), args[0], o, (*api.Client).UndrainNode)
		},
	}
	c.drainFlags(cmd, &o, &timeout)
	cmd.Flags().BoolVar(&o.Return, "return", false, "move back the pods that were moved away")
	return cmd
}

func (c *cli) drainFlags(cmd *cobra.Command, o *api.DrainOptions, timeout *time.Duration) {
	cmd.Flags().IntVar(&o.Parallel, "parallel", 1, "`number` of pods that move at a time")
	cmd.Flags().DurationVar(timeout, "timeout", 0, "cancel after this `duration`, such as 30m (default: never)")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only show what would be done")
}

type drainCall func(client *api.Client, ctx context.Context, node string, o api.DrainOptions, p api.DrainProgress) (api.DrainReport, error)

func (c *cli) drain(ctx context.Context, node string, o api.DrainOptions, call drainCall) error {
	if err := c.checkOutput(); err != nil {
		return err
	}
	client := api.NewClient(c.socket)
	defer client.Close()
	shown := &drainProgress{screen: screen{out: c.out, width: c.width}, steps: map[string]string{}}
	var told api.DrainProgress = shown
	if c.structured() {
		told = silentDrain{}
	}
	var report api.DrainReport
	err := c.interruptible(ctx, longRun{
		do: func(ctx context.Context) (err error) {
			defer shown.clear()
			report, err = call(client, ctx, node, o, told)
			return err
		},
		undo: func(ctx context.Context) { c.cancelDrain(ctx, client, node) },
		left: "moves that have begun come to their end; drover node undrain " + node + " --return undoes a drain",
	})
	if report.Node == "" {
		return err
	}
	printed := c.print(report, func(w io.Writer) error { return c.drained(ctx, w, client, report, o) })
	if err == nil {
		err = printed
	}
	return err
}

// cancelDrain asks for a drain to end. How it ends is for the drain's own answer to say, which ends ctx.
func (c *cli) cancelDrain(ctx context.Context, client *api.Client, node string) {
	ctx, done := context.WithTimeout(ctx, cancelPatience)
	defer done()
	if err := client.CancelDrain(ctx, node); err != nil && ctx.Err() == nil {
		fmt.Fprintln(c.err, "drover: could not cancel:", err)
	}
}

// drained says how things stand. What stays has been told already, and what to do about it the error will.
func (c *cli) drained(ctx context.Context, w io.Writer, client *api.Client, r api.DrainReport, o api.DrainOptions) error {
	var err error
	switch {
	case o.DryRun:
		_, err = fmt.Fprintln(w, "This was a dry run: nothing was changed.")
	case r.Stayed() > 0:
	case r.Cordoned && len(r.Pods) == 0:
		_, err = fmt.Fprintf(w, "%s is drained: it has no pods.\n", r.Node)
	case r.Cordoned:
		_, err = fmt.Fprintf(w, "%s is drained. drover node undrain %s --return undoes it.\n", r.Node, r.Node)
	default:
		_, err = fmt.Fprintf(w, "%s is open to pods.\n", r.Node)
		if n, e := client.GetNode(ctx, r.Node); e == nil && len(n.Drained) > 0 {
			_, err = fmt.Fprintf(w, "Moved away before, and still elsewhere: %s\n  drover node undrain %s --return moves them back\n", strings.Join(n.Drained, ", "), r.Node)
		}
	}
	return err
}

// drainProgress shows a drain: a line a pod when its turn ends and, on a terminal, what moves just now in place.
type drainProgress struct {
	screen
	pods, ended int
	moving      []string          // pods, in the order of their begins
	steps       map[string]string // how far each is
}

// Planned says how many there are.
func (p *drainProgress) Planned(pods []string) {
	p.pods = len(pods)
	if p.pods > 0 {
		p.line("Pods to move: %s", strings.Join(pods, ", "))
	}
}

// Started shows what moves where.
func (p *drainProgress) Started(m api.Move) {
	p.forget(m.Pod)
	p.moving = append(p.moving, m.Pod)
	p.steps[m.Pod] = fmt.Sprintf("%s -> %s", m.Pod, m.To)
	p.show()
}

// Event shows the step of a pod's move, and keeps what failed.
func (p *drainProgress) Event(pod string, e api.Event) {
	to, _, _ := strings.Cut(p.steps[pod], ": ")
	switch e.State {
	case api.StepStarted, api.StepProgress:
		p.steps[pod] = strings.TrimRight(fmt.Sprintf("%s: %s %s", to, e.Step, transferred(e)), " ")
	case api.StepFailed:
		p.line("%s: %s failed on %s: %s", to, e.Step, e.Node, e.Note)
	case api.StepUndone:
		p.line("%s: undone: %s", to, e.Note)
	}
	p.show()
}

// Ended shows what became of a pod.
func (p *drainProgress) Ended(d api.DrainedPod) {
	p.forget(d.Pod)
	p.ended++
	p.pods = max(p.pods, p.ended) // some came later
	turn := fmt.Sprintf("[%d/%d] ", p.ended, p.pods)
	switch {
	case d.Outcome == api.DrainMoved && d.Report != nil:
		p.line("%s%s", turn, summary(*d.Report))
	case d.Outcome == api.DrainWouldMove:
		p.line("%s%s would go to %s", turn, d.Pod, d.To)
	default:
		p.line("%s%s stays on %s: %s", turn, d.Pod, d.From, d.Reason)
		for _, n := range d.Nodes {
			p.line("  %s: %s", n.Node, n.Why)
		}
		var refusals strings.Builder
		tellRefusals(&refusals, d.Refusals)
		for line := range strings.Lines(refusals.String()) {
			p.line("%s", strings.TrimRight(line, "\n"))
		}
		if d.Cure != "" {
			p.line("  %s", strings.ReplaceAll(d.Cure, "\n", "\n  "))
		}
	}
	p.show()
}

func (p *drainProgress) forget(pod string) {
	delete(p.steps, pod)
	for i, name := range p.moving {
		if name == pod {
			p.moving = append(p.moving[:i], p.moving[i+1:]...)
			return
		}
	}
}

// show shows in place what moves now.
func (p *drainProgress) show() {
	var now []string
	for _, pod := range p.moving {
		now = append(now, p.steps[pod])
	}
	p.overwrite(strings.Join(now, " | "))
}

// silentDrain is a DrainProgress that shows nothing.
type silentDrain struct{ silent }

// Planned shows nothing.
func (silentDrain) Planned([]string) {}

// Event shows nothing.
func (silentDrain) Event(string, api.Event) {}

// Ended shows nothing.
func (silentDrain) Ended(api.DrainedPod) {}
