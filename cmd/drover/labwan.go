package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
)

func newLabWAN(flags *labFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "wan [SITE-A SITE-B]",
		Short:   "Show the links between the sites of a running lab, or change them",
		Example: "  drover lab wan\n  drover lab wan ams fra",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return errors.New("want two sites, or none for all links")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeLink(cmd, flags, args, wan.Change{}, false)
		},
	}
	cmd.AddCommand(newLabWANSet(flags), newLabWANCut(flags, "cut", true), newLabWANCut(flags, "heal", false))
	return cmd
}

const oneWayUsage = "change only the direction from SITE-A to SITE-B"

func newLabWANSet(flags *labFlags) *cobra.Command {
	var oneWay bool
	var change wan.Change
	cmd := &cobra.Command{
		Use:   "set SITE-A SITE-B KEY=VALUE...",
		Short: "Set what the link between two sites does to packets",
		Long: `Sets what the link between two sites does to packets, and leaves the rest as it is:

  delay=40ms         one way; a round trip takes it twice
  jitter=5ms         standard deviation of the delay: normally distributed, cut off at three of them.
                     Packets keep their order, as in a queue
  unordered=yes      let jitter reorder packets all the same
  reorder=1%/10ms    share of packets that are held back, and for how long (10ms if not given)
  loss=0.5%          share of packets that are lost
  duplicate=0.1%     share of packets that arrive twice
  corrupt=0.1%       share of packets of which a bit is turned
  rate=50mbit        or unlimited
  queue=65536        bound of the queue in bytes; 0 is one bandwidth-delay product, at least 65536`,
		Example: `  drover lab wan set ams fra delay=80ms jitter=5ms loss=0.5% rate=50mbit
  drover lab wan set ams fra reorder=1% --one-way     # only what ams sends to fra`,
		Args: cobra.MinimumNArgs(3),
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			change, err = wan.ParseChange(args[2:])
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeLink(cmd, flags, args[:2], change, oneWay)
		},
	}
	cmd.Flags().BoolVar(&oneWay, "one-way", false, oneWayUsage)
	return cmd
}

func newLabWANCut(flags *labFlags, verb string, cut bool) *cobra.Command {
	var oneWay bool
	short := "Let nothing through between two sites; what is on its way is lost"
	if !cut {
		short = "Undo a cut between two sites"
	}
	cmd := &cobra.Command{
		Use:     verb + " SITE-A SITE-B",
		Short:   short,
		Example: "  drover lab wan " + verb + " ams fra\n  drover lab wan " + verb + " ams fra --one-way",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeLink(cmd, flags, args, wan.Change{Cut: &cut}, oneWay)
		},
	}
	cmd.Flags().BoolVar(&oneWay, "one-way", false, oneWayUsage)
	return cmd
}

// changeLink makes a change to the link between two sites, if there is one to make, and shows it; all links if no sites are
// named.
func changeLink(cmd *cobra.Command, flags *labFlags, sites []string, change wan.Change, oneWay bool) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
	defer cancel()
	l, err := lab.Open(flags.name)
	if err != nil {
		return labFailure(err)
	}
	for _, name := range sites {
		if _, err := l.Site(name); err != nil {
			return err
		}
	}
	if len(sites) == 2 && sites[0] == sites[1] {
		return errors.New("a link needs two different sites")
	}
	if change != (wan.Change{}) {
		apply := l.WAN().Set
		if oneWay {
			apply = l.WAN().SetOneWay
		}
		if err := apply(ctx, sites[0], sites[1], change); err != nil {
			return err
		}
	}
	all, err := l.WAN().Links(ctx)
	if err != nil {
		return err
	}
	links := []lab.LinkStatus{}
	for _, link := range all {
		if len(sites) == 0 || link.From == sites[0] && link.To == sites[1] || link.From == sites[1] && link.To == sites[0] {
			links = append(links, lab.NewLinkStatus(link))
		}
	}
	if structured(outputOf(cmd)) {
		return writeAs(cmd.OutOrStdout(), outputOf(cmd), links)
	}
	return printLinks(cmd.OutOrStdout(), links)
}
