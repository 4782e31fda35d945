package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
)

// labFlags are common to all commands of a lab.
type labFlags struct{ name string }

// labFailure tells that there is no such lab apart from other failures, by its exit code.
func labFailure(err error) error {
	if errors.Is(err, lab.ErrNotUp) {
		return &api.Error{Code: api.NotFound, Why: err.Error(), Cure: "drover lab ls shows the labs of this machine; drover lab up starts one"}
	}
	return err
}

func newLabCommand() *cobra.Command {
	var flags labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A whole mesh on this machine, with an emulated WAN",
		Long: `Runs a mesh of emulated hosts on this machine: each site has its own network, mounts, processes,
/run and state directory, and a real agent; an emulated WAN joins them, and an outside host
called client stands beside them. Needs root. Nothing stays after drover lab down.`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return checkFormat(outputOf(cmd))
		},
	}
	cmd.PersistentFlags().StringVar(&flags.name, "name", "lab", "`name` of the lab; several can run at once")
	cmd.AddCommand(newLabUp(&flags), newLabDown(&flags), newLabList(&flags), newLabExec(&flags), newLabWAN(&flags), newLabDemo(&flags))
	cmd.AddCommand(newLabAgents(&flags)...)
	cmd.AddCommand(newLabProcesses()...)
	return cmd
}

func newLabUp(flags *labFlags) *cobra.Command {
	var options lab.Options
	var network string
	var hosts labHosts
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a lab; one that is up already stays as it is",
		Example: `  drover lab up --sites 3 --wan 200mbit/50ms
  drover lab up --wan 200mbit/50ms,jitter=5ms,reorder=1%,loss=0.1%
  drover lab up --clock fra=+100000s --cpu-mask fra=avx2,bmi2 --disk ams=512mb
  drover lab up --sites 5 --bare             # hosts without a mesh, to be made with drover mesh init and join`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) (err error) {
			options.Name = flags.name
			if options.Hosts, err = hosts.parse(options.Sites); err != nil {
				return err
			}
			options.Conditions, err = wan.ParseConditions(network)
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
			defer stop()
			l, err := lab.Up(ctx, options, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
			if err != nil && ctx.Err() != nil {
				return errInterrupted
			}
			if err != nil {
				return err
			}
			if structured(outputOf(cmd)) {
				return writeAs(cmd.OutOrStdout(), outputOf(cmd), l.Status(ctx))
			}
			name := ""
			if flags.name != "lab" {
				name = " --name " + flags.name
			}
			first, other := l.Sites()[0].Name, l.Hosts()[1].Name
			hints := `Try:
  drover lab ls%[1]s
  drover lab exec%[1]s %[2]s -- drover status
  drover lab wan set%[1]s %[2]s %[3]s loss=0.5%% jitter=5ms
  drover lab down%[1]s
`
			if options.Bare {
				hints = `Try:
  drover lab exec%[1]s %[2]s -- drover doctor
  drover lab exec%[1]s %[2]s -- drover mesh init
  drover lab start%[1]s %[2]s
  drover lab down%[1]s
`
			}
			fmt.Fprintf(cmd.OutOrStdout(), hints, name, first, other)
			return nil
		},
	}
	cmd.Flags().IntVar(&options.Sites, "sites", 3, "`number` of sites")
	cmd.Flags().StringVar(&network, "wan", "200mbit/50ms", "rate and round-trip time between any two sites, and more, as `RATE/RTT[,KEY=VALUE...]` with the keys of drover lab wan set")
	cmd.Flags().Uint64Var(&options.Seed, "seed", 1, "`seed` of all that is random in the WAN")
	hosts.addFlags(cmd)
	cmd.Flags().BoolVar(&options.Bare, "bare", false, "give the sites no identity and no configuration, and start no agent")
	cmd.Flags().DurationVar(&options.Timeout, "timeout", time.Minute, "give up and clean up after this `time`")
	return cmd
}

func newLabDown(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Remove a lab and everything of it, whatever has crashed",
		Example: "  drover lab down\n  drover lab down --name demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			if err := lab.Down(ctx, flags.name); err != nil {
				return err
			}
			if structured(outputOf(cmd)) {
				return writeAs(cmd.OutOrStdout(), outputOf(cmd), map[string]string{"name": flags.name, "state": "down"})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %s is down\n", flags.name)
			return nil
		},
	}
}

func newLabExec(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "exec SITE -- COMMAND [ARG...]",
		Short:   "Run a command in a site, or in the outside host client",
		Example: "  drover lab exec ams -- drover status\n  drover lab exec client -- ip route",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := lab.Open(flags.name)
			if err != nil {
				return labFailure(err)
			}
			code, err := l.Run(args[0], args[1:])
			if err != nil {
				return err
			}
			os.Exit(code)
			return nil
		},
	}
}

// newLabProcesses are the commands that a lab itself starts.
func newLabProcesses() []*cobra.Command {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var dir, site string
	router := &cobra.Command{Use: "wan-router", Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return lab.RunRouter(cmd.Context(), dir, log)
	}}
	siteInit := &cobra.Command{Use: "site-init", Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return lab.SiteInit(cmd.Context(), dir, site, log)
	}}
	siteExec := &cobra.Command{Use: "site-exec", Hidden: true, Args: cobra.MinimumNArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		code, err := lab.SiteExec(dir, site, args)
		if err != nil {
			return err
		}
		os.Exit(code)
		return nil
	}}
	for _, cmd := range []*cobra.Command{router, siteInit, siteExec} {
		cmd.Flags().StringVar(&dir, "dir", "", "directory of the lab")
	}
	for _, cmd := range []*cobra.Command{siteInit, siteExec} {
		cmd.Flags().StringVar(&site, "site", "", "name of the site")
	}
	return []*cobra.Command{router, siteInit, siteExec}
}
