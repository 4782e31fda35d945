//go:build root

package host

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// signal sends a signal to agents. Those that it stops go on when the test ends.
func (m *mesh) signal(t *testing.T, signal unix.Signal, sites ...string) {
	t.Helper()
	for _, site := range sites {
		require.NoError(t, m.SignalAgent(context.Background(), site, signal))
		if signal == unix.SIGSTOP {
			t.Cleanup(func() { _ = m.SignalAgent(context.Background(), site, unix.SIGCONT) })
		}
	}
}

// wrapCRIU lets a site's CRIU run a line of shell before it does anything. The real one is /run/criu-real there.
func (m *mesh) wrapCRIU(t *testing.T, site, line string) {
	t.Helper()
	m.inSite(t, site, `cp "$(command -v criu)" /run/criu-real
printf '%s\n' '#!/bin/sh' '`+line+`' 'exec /run/criu-real "$@"' > /run/criu-wrapper
chmod +x /run/criu-wrapper
mount --bind /run/criu-wrapper "$(command -v criu)"`)
	t.Cleanup(func() { m.unwrapCRIU(t, site) })
}

func (m *mesh) unwrapCRIU(t *testing.T, site string) {
	t.Helper()
	m.inSite(t, site, `while mountpoint -q "$(command -v criu)"; do umount "$(command -v criu)"; done; rm -f /run/criu-real /run/criu-wrapper`)
}
