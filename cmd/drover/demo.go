package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/demo"
	"github.com/drover-mesh/drover/test/wan"
)

// newLabDemo shows a live Redis moving around a lab.
func newLabDemo(flags *labFlags) *cobra.Command {
	o := demo.Options{}
	network, fill := "200mbit/50ms", "8MiB"
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a lab, move a live Redis around its sites, and show what its client noticed",
		Long: `Starts a lab of its own, runs a Redis in it, and lets a client outside the mesh count in it over one connection, as
fast as it gets answers, while the pod moves from site to site. Then the lab is taken down.

Succeeds only if every move did, the one connection lived, no increment was lost or done twice, and nothing is left of
the lab. Needs root.`,
		Example: "  drover lab demo\n  drover lab demo --sites 5 --moves 10 --wan 50mbit/120ms,loss=0.5% --fill 64MiB\n  drover lab demo -o json > demo.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Conditions, err = wan.ParseConditions(network); err != nil {
				return err
			}
			if o.Fill, err = parseSize(fill); err != nil {
				return fmt.Errorf("--fill %q: %w", fill, err)
			}
			o.Name = flags.name
			if !cmd.Flags().Changed("name") {
				o.Name = "demo"
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			screen, width := cmd.OutOrStdout(), widthOf(os.Stdout)
			if structured(outputOf(cmd)) {
				screen, width = cmd.ErrOrStderr(), nil // the result stands alone on stdout
			}
			r, err := demo.Run(ctx, o, newDemoScreen(screen, width))
			if structured(outputOf(cmd)) {
				if wrong := writeAs(cmd.OutOrStdout(), outputOf(cmd), r); wrong != nil {
					return wrong
				}
				return err
			}
			showDemo(screen, r)
			return err
		},
	}
	cmd.Flags().IntVar(&o.Sites, "sites", 3, "`number` of sites")
	cmd.Flags().IntVar(&o.Moves, "moves", 6, "`number` of moves, round and round")
	cmd.Flags().StringVar(&network, "wan", network, "rate and round-trip time between any two sites, and more, as `RATE/RTT[,KEY=VALUE...]` with the keys of drover lab wan set")
	cmd.Flags().StringVar(&fill, "fill", fill, "random data in the Redis, as a `size` such as 8MiB")
	return cmd
}

// demoScreen shows a demonstration as it happens.
type demoScreen struct{ progress }

func newDemoScreen(out io.Writer, width func() int) *demoScreen {
	return &demoScreen{progress{screen{out: out, width: width}}}
}

func (s *demoScreen) Say(line string) { s.line("%s", line) }

func (s *demoScreen) Moved(m demo.Move) {
	s.line("%s The client waited %s at most.", summary(m.Report), milliseconds(m.ClientGapMS))
}

// showDemo is the table at the end.
func showDemo(out io.Writer, r demo.Result) {
	if len(r.Moves) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "MOVE\tDOWNTIME\tCLIENT WAITED\tTOTAL\tSENT\tSENT FROZEN\t")
	for _, m := range r.Moves {
		fmt.Fprintf(t, "%s -> %s\t%s\t%s\t%s\t%s\t%s\t\n", m.From, m.To, milliseconds(m.DowntimeMS), milliseconds(m.ClientGapMS),
			duration(m.TotalMS), size(m.BytesSent), size(m.FrozenBytes))
	}
	_ = t.Flush()
	c := r.Client
	fmt.Fprintf(out, "\nThe client's %d connection lived through all of it (%d resets). Of %d acknowledged increments %d were lost and %d done twice.\n",
		c.Connections, c.Resets, c.Acknowledged, c.Lost, c.Duplicated)
	if len(r.Leaks) == 0 {
		fmt.Fprintln(out, "Nothing is left of the lab.")
	}
}
