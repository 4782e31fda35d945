package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

func refusals() []api.Refusal {
	return []api.Refusal{
		{Node: "ams", Container: "app", Process: "node", PID: 7, HostPID: 4711, Others: []int{8, 9}, Reason: "it uses io_uring", Cure: "switch io_uring off"},
		{Node: "ams", Container: "app", Others: []int{}, Reason: "somebody has mounted /mnt in it", Cure: "unmount it"},
		{Node: "fra", Others: []int{}, Reason: "it has 20 MiB free in /run/drover", Cure: "free some space there"},
	}
}

func TestDryRun(t *testing.T) {
	for name, f := range map[string]struct {
		refusals []api.Refusal
		code     int
	}{"migrate-dry-run": {[]api.Refusal{}, exitOK}, "migrate-dry-run-refused": {refusals(), exitRefused}} {
		t.Run(name, func(t *testing.T) {
			b := fake()
			b.OnPreflight = func(pod, to string) (api.Preflight, error) {
				return api.Preflight{
					Pod: pod, From: "ams", To: to, Refusals: f.refusals, Warnings: []string{"fra has Linux 6.1, older than the 6.12 that the pod was started on"},
					Processes: 3, Descriptors: 57, MemoryBytes: 17 << 20, FilesBytes: 1 << 20, Files: 12, MissingLayers: []string{"sha256:0123"}, MissingBytes: 34 << 20, MS: 12.3,
				}, nil
			}
			socket := apitest.Serve(t, b, nil)
			c, code := drover(t, socket, []string{"migrate", "redis", "--to", "fra", "--dry-run"})
			assert.Equal(t, f.code, code)
			assert.Empty(t, c.stderr.String())
			golden(t, name+".table", c.stdout.String())
			c, code = drover(t, socket, []string{"migrate", "redis", "--to", "fra", "--dry-run", "-o", "json"})
			assert.Equal(t, f.code, code)
			assert.Empty(t, c.stderr.String())
			golden(t, name+".json", c.stdout.String())
			assert.Equal(t, []string{"preflight redis", "preflight redis"}, b.Calls())
		})
	}
}

func TestRefusedMove(t *testing.T) {
	b := fake()
	b.OnMigrate = func(_ context.Context, pod, _ string, p api.Progress) (api.Report, error) {
		p.Started(api.Move{ID: "m4", Pod: pod, From: "ams", To: "fra", Mode: "stop-copy"})
		p.Event(api.Event{Step: "preflight", Node: "fra", State: api.StepFailed, MS: 51.2, Note: "3 things keep it from moving"})
		e := api.Errorf(api.FailedPrecondition, "moving redis to fra", "3 things keep it from moving").WithCure("nothing was changed")
		e.Refusals = refusals()
		return api.Report{}, e
	}
	socket := apitest.Serve(t, b, nil)
	c, code := drover(t, socket, []string{"migrate", "redis", "--to", "fra"})
	require.Equal(t, exitRefused, code)
	golden(t, "migrate-refused.table", c.stdout.String()+c.stderr.String())
	c, code = drover(t, socket, []string{"migrate", "redis", "--to", "fra", "-o", "json"})
	require.Equal(t, exitRefused, code)
	assert.Empty(t, c.stdout.String())
	golden(t, "migrate-refused.json", c.stderr.String())
}
