//go:build hosts

package hosts

import (
	"testing"
)

// One host after the other through the life of a mesh. Each step builds on those before it.
func TestHosts(t *testing.T) {
	w := newWorld(t)
	say("two hosts up")
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"install the package", w.install},
		{"join both into a mesh", w.join},
		{"run a pod, with a client connected", w.runPod},
		{"move it there", func(t *testing.T) { w.move(t, w.h1, w.h2) }},
		{"move it back", func(t *testing.T) { w.move(t, w.h2, w.h1) }},
		{"restart and kill the agent", w.killAgent},
		{"restart the host's network service", w.restartNetwork},
		{"cut the link in a move, and heal it", w.cutLink},
		{"upgrade with the pod running", w.upgrade},
		{"nothing was lost or doubled", w.stopClient},
		{"reboot the pod's host", w.reboot},
		{"remove and install again, with the pod running", w.reinstall},
		{"let systemd make the control groups", w.systemdDriver},
		{"purge", w.purge},
		{"a host with a lesser CPU is refused", w.refuseLesser},
		{"no kernel complained", w.oopses},
	} {
		if !t.Run(step.name, step.do) {
			return
		}
		say("%s: done", step.name)
	}
}
