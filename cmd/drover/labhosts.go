package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
)

// labHosts are the flags that set the sites of a lab apart.
type labHosts struct {
	clocks []string
}

// spreadClocks in place of offsets sets each site's clock this much ahead of that of the site before it.
const (
	spreadClocks = "spread"
	clockSpread  = 100_000 * time.Second
)

func (h *labHosts) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&h.clocks, "clock", nil, "own monotonic and boot clocks of sites, as `SITE=OFFSET,...` such as ams=+100000s,fra=-1000s; "+
		"or spread, each 100,000 s ahead of the site before")
}

// parse returns what the flags say of each site.
func (h *labHosts) parse(sites int) (map[string]lab.Host, error) {
	hosts := map[string]lab.Host{}
	if len(h.clocks) == 1 && h.clocks[0] == spreadClocks {
		for i, name := range lab.SiteNames(sites) {
			hosts[name] = lab.Host{Clock: time.Duration(i) * clockSpread}
		}
		return hosts, nil
	}
	for _, text := range h.clocks {
		site, value, ok := strings.Cut(text, "=")
		offset, err := time.ParseDuration(value)
		if !ok || err != nil {
			return nil, fmt.Errorf("--clock %q: want SITE=OFFSET, for example ams=+100000s, or spread alone", text)
		}
		host := hosts[site]
		host.Clock = offset
		hosts[site] = host
	}
	return hosts, nil
}
