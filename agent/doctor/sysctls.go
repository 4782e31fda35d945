package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// setting is a sysctl that matters. The agent sets those of its own devices itself; these belong to the host.
type setting struct {
	name  string
	good  func(value int) bool
	level Level // when the value isn't good
	want  int   // what the cure sets
	why   string
}

var settings = []setting{
	{
		"net.ipv4.ip_forward", func(v int) bool { return v == 1 }, Warn, 1,
		"hosts outside of the mesh reach pods through this node; between nodes the agent's own devices forward anyway",
	},
	{
		// The kernel takes the larger of this and the device's (include/linux/inetdevice.h, IN_DEV_RPFILTER).
		"net.ipv4.conf.all.rp_filter", func(v int) bool { return v != 1 }, Fail, 2,
		"a moving pod's packets come from where no route leads to it; the strict filter drops them",
	},
	{
		// The kernel sends redirects if this or the device's says so (IN_DEV_TX_REDIRECTS).
		"net.ipv4.conf.all.send_redirects", func(v int) bool { return v == 0 }, Warn, 0,
		"the old node forwards what still comes for a moved pod; a redirect would teach hosts a wrong way",
	},
	{
		"fs.pipe-max-size", func(v int) bool { return v >= 4<<20 }, Warn, 4 << 20,
		"CRIU dumps large pods through pipes of 4 MiB",
	},
}

func checkSysctls(_ context.Context, host Host, _ Config) []Finding {
	var findings []Finding
	for _, s := range settings {
		cure := fmt.Sprintf("sysctl -w %s=%d # and in /etc/sysctl.d/90-drover.conf", s.name, s.want)
		text, err := host.Read("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if err != nil {
			findings = append(findings, judge(s.name, s.why, "", err, Warn, cure))
			continue
		}
		f := Finding{Check: s.name, Level: OK, Found: text, Why: s.why}
		if value, err := strconv.Atoi(text); err != nil || !s.good(value) {
			f.Level, f.Cure = s.level, cure
		}
		findings = append(findings, f)
	}
	return findings
}
