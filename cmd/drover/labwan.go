package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
)

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
	var change wan.Change
	cmd := &cobra.Command{
		Use:   "wan SITE-A SITE-B",
		Short: "Change the link between two sites of a running lab, or show it",
		Example: `  drover lab wan ams fra --delay 80ms --loss 0.5% --rate 50mbit
  drover lab wan ams fra --cut
  drover lab wan ams fra --cut --one-way     # only what ams sends to fra`,
		Args: cobra.ExactArgs(2),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
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
			return change.Apply(wan.Conditions{}).Validate()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeWAN(cmd, flags, args[0], args[1], change, oneWay)
		},
	}
	cmd.Flags().DurationVar(&delay, "delay", 0, "one-way delay, as a `time` such as 40ms (a round trip takes it twice)")
	cmd.Flags().StringVar(&loss, "loss", "", "`share` of packets lost, such as 0.5%")
	cmd.Flags().StringVar(&rate, "rate", "", "`rate`, such as 50mbit, or unlimited")
	cmd.Flags().Int64Var(&queue, "queue", 0, "bound of the queue in `bytes`; 0 is one bandwidth-delay product, at least 65536")
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
		return labFailure(err)
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
	if wantsJSON(cmd) {
		return writeJSON(cmd.OutOrStdout(), links)
	}
	return printLinks(cmd.OutOrStdout(), links)
}
