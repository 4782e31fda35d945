package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

func TestMigrateOnATerminal(t *testing.T) {
	socket := apitest.Serve(t, fake(), nil)
	c, code := drover(t, socket, []string{"migrate", "redis", "--to", "fra"}, func(c *cli) { c.width = columns(80) })
	require.Equal(t, exitOK, code, &c.stderr)
	// What was shown in place may have been skipped, but a person ends up with the same lines.
	plain, code := drover(t, socket, []string{"migrate", "redis", "--to", "fra"})
	require.Equal(t, exitOK, code)
	var left []string
	for line := range strings.Lines(c.stdout.String()) {
		parts := strings.Split(line, "\r\x1b[K")
		left = append(left, parts[len(parts)-1])
	}
	assert.Equal(t, plain.stdout.String(), strings.Join(left, ""))
}

func TestProgressInPlace(t *testing.T) {
	var b strings.Builder
	p := &progress{screen{out: &b, width: columns(80)}}
	_, err := aMove(t.Context(), "redis", "fra", p)
	require.NoError(t, err)
	p.Event(api.Event{Step: "restore", Node: "fra", State: api.StepStarted})
	p.Event(api.Event{Step: "restore", Node: "fra", State: api.StepFailed, MS: 12_345, Note: "no memory"})
	p.Event(api.Event{Step: "final", Node: "fra", State: api.StepUndone})
	golden(t, "migrate.terminal", strings.NewReplacer("\r", "<CR>", "\x1b", "<ESC>").Replace(b.String()))
}

// interruptible is a move that goes on until it is cancelled or finished.
type interruptible struct {
	onCancel            func(*interruptible) (api.Migration, error)
	begun, undo, finish chan struct{}
}

// run runs drover migrate and sends it signals once the move has begun.
func (m *interruptible) run(t *testing.T, signals int) (*call, int) {
	t.Helper()
	m.begun, m.undo, m.finish = make(chan struct{}), make(chan struct{}), make(chan struct{})
	b := fake()
	b.Migrations = nil
	b.OnMigrate = func(ctx context.Context, _, _ string, p api.Progress) (api.Report, error) {
		p.Started(api.Move{ID: "m4", Pod: "redis", From: "ams", To: "fra", Mode: "stop-copy"})
		close(m.begun)
		select {
		case <-m.undo:
			p.Event(api.Event{Step: "reserve", State: api.StepUndone})
			return api.Report{}, api.Errorf(api.Aborted, "moving redis to fra", "it was cancelled").WithCure("redis runs on ams as before")
		case <-m.finish:
			return aReport(), nil
		case <-ctx.Done():
			return api.Report{}, ctx.Err()
		}
	}
	b.OnCancel = func(string) (api.Migration, error) { return m.onCancel(m) }
	socket := apitest.Serve(t, b, nil)
	return drover(t, socket, []string{"migrate", "redis", "--to", "fra"}, func(c *cli) {
		stderr := c.err
		c.err = writeFunc(func(p []byte) (int, error) {
			if strings.Contains(string(p), "too late") {
				close(m.finish)
			}
			return stderr.Write(p)
		})
		c.notify = func(to chan<- os.Signal) func() {
			go func() {
				<-m.begun
				for range signals {
					to <- os.Interrupt
				}
			}()
			return func() {}
		}
	})
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

func TestInterruptUndoesTheMove(t *testing.T) {
	m := interruptible{onCancel: func(m *interruptible) (api.Migration, error) {
		close(m.undo)
		return api.Migration{Phase: api.MigrationAborted}, nil
	}}
	c, code := m.run(t, 1)
	assert.Equal(t, exitAborted, code)
	assert.Equal(t, "redis: ams -> fra (stop-copy)\n  reserve      undone\n", c.stdout.String())
	assert.Equal(t, "drover: cancelling; Ctrl-C again leaves without waiting\n"+
		"drover: moving redis to fra: it was cancelled\n  redis runs on ams as before\n", c.stderr.String())
}

func TestSecondInterruptLeaves(t *testing.T) {
	m := interruptible{onCancel: func(*interruptible) (api.Migration, error) { return api.Migration{}, nil }}
	c, code := m.run(t, 2)
	assert.Equal(t, exitInterrupted, code)
	assert.Contains(t, c.stderr.String(), "drover pod get redis shows where it runs")
}

func TestTooLateToCancel(t *testing.T) {
	m := interruptible{onCancel: func(*interruptible) (api.Migration, error) {
		return api.Migration{}, api.Errorf(api.FailedPrecondition, "", "it is past its point of no return")
	}}
	c, code := m.run(t, 1)
	assert.Equal(t, exitOK, code)
	assert.Contains(t, c.stderr.String(), "drover: too late to cancel: it is past its point of no return\n")
	assert.Contains(t, c.stdout.String(), "redis runs on fra.")
}

func TestInterruptBeforeTheSourceKnowsTheMove(t *testing.T) {
	asked := 0
	m := interruptible{onCancel: func(m *interruptible) (api.Migration, error) {
		if asked++; asked < 3 {
			return api.Migration{}, api.Errorf(api.NotFound, "", "no move of redis goes on")
		}
		close(m.undo)
		return api.Migration{Phase: api.MigrationAborted}, nil
	}}
	_, code := m.run(t, 1)
	assert.Equal(t, exitAborted, code)
}

func TestFailedCancelDecidesNothing(t *testing.T) {
	m := interruptible{onCancel: func(m *interruptible) (api.Migration, error) {
		close(m.undo)
		return api.Migration{}, api.Errorf(api.Unavailable, "", "the quorum is lost")
	}}
	_, code := m.run(t, 1)
	assert.Equal(t, exitAborted, code, "how the move ends decides")
}

// What keeps a connection alive is no transfer of the step that runs meanwhile.
func TestFewBytesAreNotTold(t *testing.T) {
	var b strings.Builder
	p := &progress{screen{out: &b}}
	p.Event(api.Event{Step: "activate", State: api.StepDone, MS: 14, BytesDone: 132})
	p.Event(api.Event{Step: "final", State: api.StepDone, MS: 500, BytesDone: 12 << 20})
	assert.Equal(t, "  activate      14 ms\n  final        500 ms  12.0 MiB\n", b.String())
}
