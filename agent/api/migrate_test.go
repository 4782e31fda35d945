package api_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// recorder is a Progress that remembers.
type recorder struct {
	mu     sync.Mutex
	moves  []api.Move
	events []api.Event
	block  chan struct{} // if set, Event waits for it
}

func (r *recorder) Started(m api.Move) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moves = append(r.moves, m)
}

func (r *recorder) Event(e api.Event) {
	if r.block != nil {
		<-r.block
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

var move = api.Move{ID: "m1", Pod: "redis", From: "fra", To: "nyc", Mode: "stop-copy"}

func TestMigrateStreams(t *testing.T) {
	m := newMesh(t)
	report := api.Report{
		ID: "m1", Pod: "redis", From: "fra", To: "nyc", Mode: "stop-copy", DowntimeMS: 842.125, TotalMS: 1600, BytesSent: 17 << 20,
		FrozenBytes: 16 << 20, Steps: []api.Step{{Name: "freeze", MS: 3.5}},
	}
	events := []api.Event{
		{Step: "presync", Node: "fra", State: api.StepStarted},
		{Step: "presync", Node: "fra", State: api.StepDone, MS: 410.5, BytesDone: 12 << 10, BytesTotal: 12 << 10, Note: "layers already there"},
	}
	m.fra.OnMigrate = func(_ context.Context, pod, to string, p api.Progress) (api.Report, error) {
		assert.Equal(t, "redis nyc", pod+" "+to)
		p.Started(move)
		for _, e := range events {
			p.Event(e)
		}
		return report, nil
	}
	got := &recorder{}
	r, err := m.client.Migrate(t.Context(), "redis", "nyc", got)
	require.NoError(t, err)
	assert.Equal(t, report, r)
	assert.Equal(t, []api.Move{move}, got.moves)
	assert.Equal(t, events, got.events)
}

func TestPreflightIsTheOwnersAnswer(t *testing.T) {
	m := newMesh(t)
	want := api.Preflight{
		Pod: "redis", From: "fra", To: "nyc", Refusals: []api.Refusal{{Node: "nyc", Others: []int{}, Reason: "its disk is full", Cure: "free 3 GiB"}},
		Warnings: []string{"an older kernel"}, Processes: 3, Descriptors: 57, MemoryBytes: 1 << 30, FilesBytes: 5 << 20, Files: 12,
		MissingLayers: []string{"sha256:1"}, MissingBytes: 40 << 20, MS: 12.5,
	}
	m.fra.OnPreflight = func(pod, to string) (api.Preflight, error) {
		assert.Equal(t, "redis nyc", pod+" "+to)
		return want, nil
	}
	got, err := m.client.Preflight(t.Context(), "redis", "nyc")
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, []string{"preflight redis"}, m.fra.Calls(), "and nothing was moved")
	_, err = m.client.Preflight(t.Context(), "nobody", "nyc")
	assert.Equal(t, api.NotFound, codeOf(t, err))
	m.fra.Err = api.Errorf(api.Unavailable, "", "nyc doesn't answer")
	_, err = m.client.Preflight(t.Context(), "redis", "nyc")
	assert.Equal(t, api.Unavailable, codeOf(t, err))
}

func TestMigrateIsCancelledWhenTheCallerGoesAway(t *testing.T) {
	m := newMesh(t)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	m.fra.OnMigrate = func(ctx context.Context, _, _ string, p api.Progress) (api.Report, error) {
		defer close(over)
		p.Started(move)
		cancel()
		<-ctx.Done() // through ams, which forwarded it
		return api.Report{}, ctx.Err()
	}
	_, err := m.client.Migrate(ctx, "redis", "nyc", &recorder{})
	assert.Equal(t, api.Canceled, codeOf(t, err))
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Fatal("the source was not told")
	}
}

func TestMigrateIsNotHeldUpByItsCaller(t *testing.T) {
	m := newMesh(t)
	const events = 20_000 // far more than fits into the windows of two connections
	over := make(chan struct{})
	m.fra.OnMigrate = func(_ context.Context, _, _ string, p api.Progress) (api.Report, error) {
		p.Started(move)
		for i := range events {
			p.Event(api.Event{Step: "final", State: api.StepProgress, BytesDone: int64(i), Note: fmt.Sprintf("%1000d", i)})
		}
		p.Event(api.Event{Step: "final", State: api.StepDone})
		close(over)
		return api.Report{ID: "m1"}, nil
	}
	got := &recorder{block: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := m.client.Migrate(t.Context(), "redis", "nyc", got)
		done <- err
	}()
	select {
	case <-over: // although nobody has read an event
	case <-time.After(20 * time.Second):
		t.Fatal("the move waits for its caller")
	}
	close(got.block)
	require.NoError(t, <-done)
	assert.Equal(t, api.StepDone, got.events[len(got.events)-1].State, "the last event came")
	assert.Less(t, len(got.events), events, "stale news was skipped")
}

func TestCancelGoesToTheSource(t *testing.T) {
	m := newMesh(t)
	open := api.Migration{ID: "m1", Pod: "redis", From: "fra", To: "nyc", Phase: api.MigrationReserved}
	old := api.Migration{ID: "m0", Pod: "redis", From: "ams", To: "fra", Phase: api.MigrationDone}
	m.fra.OnCancel = func(string) (api.Migration, error) {
		return api.Migration{ID: "m1", Phase: api.MigrationAborted}, nil
	}
	// Before it is reserved, the owner of the pod is asked.
	got, err := m.client.CancelMigration(t.Context(), "redis")
	require.NoError(t, err)
	assert.Equal(t, api.MigrationAborted, got.Phase)
	m.ams.Migrations = []api.Migration{old, open}
	m.fra.Migrations = m.ams.Migrations
	for _, name := range []string{"redis", "m1"} {
		_, err := m.client.CancelMigration(t.Context(), name)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"cancel redis", "cancel m1", "cancel m1"}, m.fra.Calls())
	_, err = m.client.CancelMigration(t.Context(), "m0") // it is over
	assert.Equal(t, api.NotFound, codeOf(t, err))
}

func TestTheSourceKnowsTheReport(t *testing.T) {
	m := newMesh(t)
	m.ams.Migrations = []api.Migration{{ID: "m1", Pod: "redis", From: "fra", To: "ams", Phase: api.MigrationDone}, {ID: "m2", From: "gru", Phase: api.MigrationDone}}
	m.fra.Migrations = []api.Migration{m.ams.Migrations[0]}
	m.fra.Migrations[0].Report = &api.Report{ID: "m1", TotalMS: 5, Steps: []api.Step{}}
	got, err := m.client.GetMigration(t.Context(), "m1")
	require.NoError(t, err)
	assert.Equal(t, m.fra.Migrations[0], got)
	got, err = m.client.GetMigration(t.Context(), "m2")
	require.NoError(t, err, "gru is off, but what is committed is known")
	assert.Equal(t, api.MigrationDone, got.Phase)
}
