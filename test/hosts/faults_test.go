//go:build hosts

package hosts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// killAgent: the pod and its client don't notice what becomes of the agent, also when all processes of its unit are killed.
func (w *world) killAgent(t *testing.T) {
	before := w.awaitPod(t, w.h1)
	for _, blow := range []string{
		"systemctl restart drover-agent",
		"kill -KILL $(systemctl show --property MainPID --value drover-agent)",
		"systemctl kill --signal KILL drover-agent",
	} {
		agent := must(t, w.h1, "systemctl show --property MainPID --value drover-agent")
		must(t, w.h1, blow)
		eventually(t, "another agent is active", func() error {
			now, err := w.h1.shell.run(t.Context(), "systemctl is-active --quiet drover-agent && systemctl show --property MainPID --value drover-agent")
			if err == nil && strings.TrimSpace(now) == agent {
				err = errors.New("it is the old one")
			}
			return err
		})
		w.awaitMesh(t)
		require.Equal(t, before.Containers[0].PID, w.awaitPod(t, w.h1).Containers[0].PID, blow)
		must(t, w.h1, "pgrep --count conmon")
		requireCounting(t, w.counter)
	}
	require.NotContains(t, must(t, w.h1, "journalctl --no-pager --output=cat --unit drover-agent"), "left-over process")
}

// restartNetwork: systemd-networkd removes routes and rules that it doesn't know, unless it is told not to.
func (w *world) restartNetwork(t *testing.T) {
	rules := must(t, w.h1, "ip rule")
	require.Contains(t, rules, "8801:")
	must(t, w.h1, "systemctl restart systemd-networkd && systemctl is-active systemd-networkd && networkctl status --no-pager eth1 >/dev/null")
	require.Equal(t, rules, must(t, w.h1, "ip rule"))
	requireCounting(t, w.counter)
}

// cutLink cuts the network between the hosts when a move has frozen the pod. Whichever host has it in the end, it is one, and
// has all that it had acknowledged.
func (w *world) cutLink(t *testing.T) {
	before := w.awaitPod(t, w.h1)
	moved := make(chan error, 1)
	go func() {
		_, err := w.h1.shell.run(t.Context(), "drover migrate redis --to h2")
		moved <- err
	}()
	eventually(t, "the pod is frozen", func() error {
		moves := ask[struct{ Migrations []api.Migration }](t, w.h1, "drover migration ls")
		for _, m := range moves.Migrations {
			if m.Step == "final" || m.Step == "restore" {
				return nil
			}
		}
		return errors.New("no move is that far")
	})
	require.NoError(t, w.h2.setLink(t.Context(), false))
	err := <-moved
	say("the move that was cut: %v", brief(err))
	must(t, w.h1, "! ping -c 1 -W 1 "+w.h2.address())
	require.NoError(t, w.h2.setLink(t.Context(), true))
	w.awaitMesh(t)
	var p api.Pod
	eventually(t, "the pod runs", func() error {
		if p = w.pod(t, w.h1); p.Phase != api.PodRunning || p.Migration != "" {
			return fmt.Errorf("it is %s on %s: %s", p.Phase, p.Node, p.Reason)
		}
		return nil
	})
	say("the pod is on %s, epoch %d after %d", p.Node, p.Epoch, before.Epoch)
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, w.counter.Await(limit, 20), "the client's connection")
	if p.Node != w.h1.name {
		w.move(t, w.h2, w.h1)
	}
}

func brief(err error) string {
	if err == nil {
		return "done"
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.Join(lines[max(0, len(lines)-2):], " ")
}

// reboot moves the pod to the second host and boots that anew. The pod starts again, with its files.
func (w *world) reboot(t *testing.T) {
	must(t, w.h1, "drover migrate redis --to h2")
	before := w.awaitPod(t, w.h2)
	boot := must(t, w.h2, "cat /proc/sys/kernel/random/boot_id; systemctl reboot")
	require.NoError(t, w.h2.halt(t.Context()))
	require.NoError(t, w.h2.boot(t.Context(), false))
	require.NotEqual(t, boot, must(t, w.h2, "cat /proc/sys/kernel/random/boot_id"))
	w.awaitMesh(t)
	after := w.awaitPod(t, w.h2)
	require.Equal(t, before.Epoch, after.Epoch)
	require.Equal(t, before.Address, after.Address)
	w.countAnew(t, w.h1)
	w.stopClient(t)
}

func (w *world) oopses(t *testing.T) {
	for _, g := range []*guest{w.h1, w.h2} {
		require.Empty(t, g.oops(), g.name)
	}
}
