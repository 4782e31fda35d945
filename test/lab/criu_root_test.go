//go:build root

package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A site must be a place where CRIU works: its PID namespace gives a restored process its old pid.
func TestCRIUWorksInASite(t *testing.T) {
	noLeaks(t, "t-criu")
	l := up(t, testOptions("t-criu"))
	inSite(t, l, "ams", "criu", "check")
	out := inSite(t, l, "ams", "bash", "-c", `set -e
		mkdir /run/img
		setsid sleep 1000 </dev/null >/dev/null 2>&1 &
		pid=$!
		until grep -q ^sleep /proc/$pid/comm; do :; done
		for i in 1 2 3; do
			criu dump -t $pid -D /run/img -v4 -o dump.log --network-lock nftables || { grep -B3 Error /run/img/dump.log >&2; exit 1; }
			! [ -e /proc/$pid ] || { [ $(awk '/State/ {print $2}' /proc/$pid/status) = Z ] && wait $pid || true; }
			criu restore -D /run/img -d -v4 -o restore.log || { grep -B3 Error /run/img/restore.log >&2; exit 1; }
		done
		cat /proc/$pid/comm`)
	require.Equal(t, "sleep", out)
}
