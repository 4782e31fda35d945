package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
)

// labFlags are common to all commands of a lab.
type labFlags struct{ name, output string }

func (f *labFlags) json() bool { return f.output == "json" }

func newLabCommand() *cobra.Command {
	var flags labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A whole mesh on this machine, with an emulated WAN",
		Long: `Runs a mesh of emulated hosts on this machine: each site has its own network, mounts, processes,
/run and state directory, and a real agent; an emulated WAN joins them, and an outside host
called client stands beside them. Needs root. Nothing stays after drover lab down.`,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if flags.output != "text" && flags.output != "json" {
				return fmt.Errorf("--output %q: want text or json", flags.output)
			}
			return nil
		},
	}
	cmd.PersistentFlags().StringVar(&flags.name, "name", "lab", "name of the lab; several can run at once")
	cmd.PersistentFlags().StringVarP(&flags.output, "output", "o", "text", "text or json")
	cmd.AddCommand(newLabUp(&flags), newLabDown(&flags), newLabList(&flags), newLabExec(&flags), newLabWAN(&flags))
	cmd.AddCommand(newLabProcesses()...)
	return cmd
}

// writeJSON writes one value, indented.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func newLabUp(flags *labFlags) *cobra.Command {
	var options lab.Options
	var network string
	cmd := &cobra.Command{
		Use:     "up",
		Short:   "Start a lab; one that is up already stays as it is",
		Example: "  drover lab up --sites 3 --wan 200mbit/50ms",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if options.Conditions, err = wan.ParseConditions(network); err != nil {
				return err
			}
			options.Name = flags.name
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			l, err := lab.Up(ctx, options, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
			if err != nil {
				return err
			}
			if flags.json() {
				return writeJSON(cmd.OutOrStdout(), l.Status(ctx))
			}
			name := ""
			if flags.name != "lab" {
				name = " --name " + flags.name
			}
			first := l.Sites()[0].Name
			fmt.Fprintf(cmd.OutOrStdout(), `Try:
  drover lab ls%[1]s
  drover lab exec%[1]s %[2]s -- drover status
  drover lab wan%[1]s %[2]s %[3]s --loss 0.5%%
  drover lab down%[1]s
`, name, first, lab.ClientSite)
			return nil
		},
	}
	cmd.Flags().IntVar(&options.Sites, "sites", 3, "number of sites")
	cmd.Flags().StringVar(&network, "wan", "200mbit/50ms", "rate and round-trip time between any two sites")
	cmd.Flags().Uint64Var(&options.Seed, "seed", 1, "seed of random losses")
	cmd.Flags().DurationVar(&options.Timeout, "timeout", time.Minute, "give up and clean up after this time")
	return cmd
}

func newLabDown(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove a lab and everything of it, whatever has crashed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			if err := lab.Down(ctx, flags.name); err != nil {
				return err
			}
			if flags.json() {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"name": flags.name, "state": "down"})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %s is down\n", flags.name)
			return nil
		},
	}
}

func newLabExec(flags *labFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "exec SITE -- COMMAND [ARG...]",
		Short:   "Run a command in a site, or in the outside host client",
		Example: "  drover lab exec ams -- drover status\n  drover lab exec client -- ip route",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := lab.Open(flags.name)
			if err != nil {
				return err
			}
			code, err := l.Run(args[0], args[1:])
			if err != nil {
				return err
			}
			os.Exit(code)
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// parseLoss reads a probability, "0.5%" or "0.005".
func parseLoss(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	value, err := strconv.ParseFloat(number, 64)
	if percent {
		value /= 100
	}
	if err != nil || !(value >= 0 && value <= 1) {
		return 0, fmt.Errorf("--loss %q: want 0%% to 100%%, for example 0.5%%", s)
	}
	return value, nil
}

func newLabWAN(flags *labFlags) *cobra.Command {
	var delay time.Duration
	var loss, rate string
	var queue int64
	var cut, heal, oneWay bool
	cmd := &cobra.Command{
		Use:   "wan SITE-A SITE-B",
		Short: "Change the link between two sites of a running lab, or show it",
		Example: `  drover lab wan ams fra --delay 80ms --loss 0.5% --rate 50mbit
  drover lab wan ams fra --cut
  drover lab wan ams fra --cut --one-way     # only what ams sends to fra`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var change wan.Change
			changed := cmd.Flags().Changed
			if changed("delay") {
				change.Delay = &delay
			}
			if changed("loss") {
				value, err := parseLoss(loss)
				if err != nil {
					return err
				}
				change.Loss = &value
			}
			if changed("rate") {
				value, err := wan.ParseRate(rate)
				if err != nil {
					return fmt.Errorf("--rate: %w", err)
				}
				change.Rate = &value
			}
			if changed("queue") {
				change.Queue = &queue
			}
			if cut || heal {
				change.Cut = &cut
			}
			return changeWAN(cmd, flags, args[0], args[1], change, oneWay)
		},
	}
	cmd.Flags().DurationVar(&delay, "delay", 0, "one-way delay (a round trip takes it twice)")
	cmd.Flags().StringVar(&loss, "loss", "", "share of packets lost, such as 0.5%")
	cmd.Flags().StringVar(&rate, "rate", "", "rate, such as 50mbit, or unlimited")
	cmd.Flags().Int64Var(&queue, "queue", 0, "bound of the queue in bytes; 0 is one bandwidth-delay product, at least 65536")
	cmd.Flags().BoolVar(&cut, "cut", false, "let nothing through")
	cmd.Flags().BoolVar(&heal, "heal", false, "undo --cut")
	cmd.Flags().BoolVar(&oneWay, "one-way", false, "change only the direction from SITE-A to SITE-B")
	cmd.MarkFlagsMutuallyExclusive("cut", "heal")
	return cmd
}

func changeWAN(cmd *cobra.Command, flags *labFlags, a, b string, change wan.Change, oneWay bool) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
	defer cancel()
	l, err := lab.Open(flags.name)
	if err != nil {
		return err
	}
	for _, name := range []string{a, b} {
		if _, err := l.Site(name); err != nil {
			return err
		}
	}
	if a == b {
		return errors.New("a link needs two different sites")
	}
	if change != (wan.Change{}) {
		apply := l.WAN().Set
		if oneWay {
			apply = l.WAN().SetOneWay
		}
		if err := apply(ctx, a, b, change); err != nil {
			return err
		}
	}
	all, err := l.WAN().Links(ctx)
	if err != nil {
		return err
	}
	var links []lab.LinkStatus
	for _, link := range all {
		if link.From == a && link.To == b || link.From == b && link.To == a {
			links = append(links, lab.NewLinkStatus(link))
		}
	}
	if flags.json() {
		return writeJSON(cmd.OutOrStdout(), links)
	}
	return printLinks(cmd.OutOrStdout(), links)
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
