package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
)

// labHosts are the flags that set the sites of a lab apart.
type labHosts struct {
	clocks, masks, disks []string
}

// spreadClocks in place of offsets sets each site's clock this much ahead of that of the site before it.
const (
	spreadClocks = "spread"
	clockSpread  = 100_000 * time.Second
)

func (h *labHosts) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&h.clocks, "clock", nil, "own monotonic and boot clocks of sites, as `SITE=OFFSET,...` such as ams=+100000s,fra=-1000s; "+
		"or spread, each 100,000 s ahead of the site before")
	cmd.Flags().StringArrayVar(&h.masks, "cpu-mask", nil, "features that a site's /proc/cpuinfo lacks, as `SITE=FLAG,...` such as fra=avx2,bmi2; may be repeated")
	cmd.Flags().StringSliceVar(&h.disks, "disk", nil, "sizes of the sites' state directories, as `SITE=SIZE,...` such as fra=512mb")
}

// parse returns what the flags say of each site.
func (h *labHosts) parse(sites int) (map[string]lab.Host, error) {
	hosts := map[string]lab.Host{}
	if slices.Equal(h.clocks, []string{spreadClocks}) {
		for i, name := range lab.SiteNames(sites) {
			hosts[name] = lab.Host{Clock: time.Duration(i) * clockSpread}
		}
	} else if err := each(hosts, h.clocks, func(host *lab.Host, value string) (err error) {
		host.Clock, err = time.ParseDuration(value)
		return err
	}); err != nil {
		return nil, fmt.Errorf("--clock %w: want SITE=OFFSET, for example ams=+100000s, or spread alone", err)
	}
	if err := each(hosts, h.masks, func(host *lab.Host, value string) error {
		host.CPUMask = strings.Split(value, ",")
		return nil
	}); err != nil {
		return nil, fmt.Errorf("--cpu-mask %w: want SITE=FLAG,..., for example fra=avx2,bmi2", err)
	}
	if err := each(hosts, h.disks, func(host *lab.Host, value string) (err error) {
		host.Disk, err = parseSize(value)
		return err
	}); err != nil {
		return nil, fmt.Errorf("--disk %w: want SITE=SIZE, for example fra=512mb", err)
	}
	return hosts, nil
}

// each sets something of the site that each text names. The error is the text that can't be read.
func each(hosts map[string]lab.Host, texts []string, set func(host *lab.Host, value string) error) error {
	for _, text := range texts {
		site, value, ok := strings.Cut(text, "=")
		host := hosts[site]
		if !ok || site == "" || value == "" || set(&host, value) != nil {
			return fmt.Errorf("%q", text)
		}
		hosts[site] = host
	}
	return nil
}
