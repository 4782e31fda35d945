package main

import (
	"context"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/lab"
)

// agentVerb is something that is done to the agent of a site.
type agentVerb struct {
	name, short, long string
	done              string // format, with the site
	do                func(l *lab.Lab, ctx context.Context, site string) error
}

// newLabAgents are the commands by which a lab does for its sites what systemctl does on a host.
func newLabAgents(flags *labFlags) []*cobra.Command {
	verbs := []agentVerb{
		{
			name: "start", short: "Start the agents of sites",
			long: `Starts the agents of sites with the configuration that each finds in its own /etc/drover/agent.yaml, and returns when they
answer. From then on an agent that ends is started again after a second, as systemd would.`,
			done: "the agent of %s runs\n", do: (*lab.Lab).StartAgent,
		},
		{
			name: "stop", short: "Stop the agents of sites; their pods run on",
			done: "the agent of %s is stopped\n", do: (*lab.Lab).StopAgent,
		},
		{
			name: "restart", short: "Stop the agents of sites and start them again; their pods run on",
			done: "the agent of %s runs\n", do: func(l *lab.Lab, ctx context.Context, site string) error {
				if err := l.StopAgent(ctx, site); err != nil {
					return err
				}
				return l.StartAgent(ctx, site)
			},
		},
		{
			name: "kill", short: "Kill the agents of sites as a crash would; they start again after a second",
			done: "the agent of %s is killed\n", do: func(l *lab.Lab, ctx context.Context, site string) error {
				return l.SignalAgent(ctx, site, unix.SIGKILL)
			},
		},
	}
	var commands []*cobra.Command
	for _, v := range verbs {
		commands = append(commands, newLabAgent(flags, v))
	}
	return commands
}

func newLabAgent(flags *labFlags, v agentVerb) *cobra.Command {
	return &cobra.Command{
		Use: v.name + " SITE...", Short: v.short, Long: v.long,
		Example: fmt.Sprintf("  drover lab %s ams\n  drover lab %[1]s fra nyc --output json", v.name),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			l, err := lab.Open(flags.name)
			if err != nil {
				return labFailure(err)
			}
			sites := []lab.SiteStatus{}
			for _, site := range args {
				if err := v.do(l, ctx, site); err != nil {
					return err
				}
				status, err := l.SiteStatus(ctx, site)
				if err != nil {
					return err
				}
				sites = append(sites, status)
				if !structured(outputOf(cmd)) {
					fmt.Fprintf(cmd.OutOrStdout(), v.done, site)
				}
			}
			if structured(outputOf(cmd)) {
				return writeAs(cmd.OutOrStdout(), outputOf(cmd), sites)
			}
			return nil
		},
	}
}
