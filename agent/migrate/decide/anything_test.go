package decide

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// TestMachinesStandAnything feeds machines whatever comes, also what no driver would: they keep to what they promise.
func TestMachinesStandAnything(t *testing.T) {
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		m := Move{ID: "m-1", Pod: "redis", UID: "u-1", Epoch: 2, Source: "ams", Target: "fra", Leased: random.IntN(2) == 0}
		journal := steps(random)[:random.IntN(4)]
		pairs := [][2]interface{ Handle(Input) []Action }{
			{NewSource(m), NewSource(m)}, {RecoverSource(m, journal), RecoverSource(m, journal)},
			{NewTarget(m), NewTarget(m)}, {RecoverTarget(m, journal), RecoverTarget(m, journal)},
		}
		for _, pair := range pairs {
			held := promises{t: t, seed: seed}
			for in := Input(Begin{}); len(held.finished) == 0 && held.fed < 200; in = held.next(random, m) {
				out := pair[0].Handle(in)
				require.Equal(t, out, pair[1].Handle(in), "seed %d: the same inputs, other actions", seed)
				held.check(in, out)
			}
		}
	}
}

// promises is what a driver relies on.
type promises struct {
	t        *testing.T
	seed     uint64
	fed      int
	busy     Step
	writing  Step
	ask      uint64
	finished []Action
}

func (p *promises) check(in Input, out []Action) {
	p.fed++
	switch in := in.(type) {
	case Done:
		p.free(in.Step)
	case Failed:
		p.free(in.Step)
	case Ran:
		p.free(in.Step)
	case Recorded:
		p.wrote(in.Step)
	case RecordFailed:
		p.wrote(in.Step)
	}
	for _, a := range out {
		require.Empty(p.t, p.finished, "seed %d: %v after the end", p.seed, a)
		switch a := a.(type) {
		case Do:
			require.Empty(p.t, p.busy, "seed %d: %s is begun while %s goes on", p.seed, a.Step, p.busy)
			p.busy = a.Step
		case Record:
			require.Empty(p.t, p.writing, "seed %d: %s is recorded while %s is", p.seed, a.Step, p.writing)
			p.writing = a.Step
		case Propose:
			require.Greater(p.t, a.Ask, p.ask)
			p.ask = a.Ask
		case Finish:
			require.Empty(p.t, p.busy, "seed %d: it ends while %s goes on", p.seed, p.busy)
			p.finished = append(p.finished, a)
		}
	}
}

func (p *promises) free(s Step) {
	if p.busy == s {
		p.busy = ""
	}
}

func (p *promises) wrote(s Step) {
	if p.writing == s {
		p.writing = ""
	}
}

// next is what may come, mostly of what goes on.
func (p *promises) next(r *rand.Rand, m Move) Input {
	busy, writing := p.busy, p.writing
	if r.IntN(8) == 0 {
		busy, writing = steps(r)[0], steps(r)[0]
	}
	inputs := []Input{
		Done{busy}, Done{busy}, Failed{busy, "why"}, Ran{busy},
		Recorded{writing}, Recorded{writing}, RecordFailed{writing, "why"},
		Answered{p.ask, answerOf(r, m)}, Answered{p.ask, answerOf(r, m)}, Answered{r.Uint64N(p.ask + 1), answerOf(r, m)}, Unknown{p.ask},
		Seen{Migration: answerOf(r, m).Migration, Pod: answerOf(r, m).Pod}, Lease{r.IntN(2) == 0},
		Fired{[]Timer{AskAgain, TryAgain, LookOver, Patience, Silence}[r.IntN(5)]},
		Cancelled{"why"}, Lost{"why"}, Reached{[]Milestone{Restored, Activated, Resumed, Released}[r.IntN(4)]},
		Begin{}, Heard{}, Arrived{}, Arrived{},
	}
	return inputs[r.IntN(len(inputs))]
}

func answerOf(r *rand.Rand, m Move) (a state.Result) {
	a.OK = r.IntN(2) == 0
	if r.IntN(8) > 0 {
		phases := []state.MigrationPhase{state.Reserved, state.Activated, state.Done, state.Returned, state.Aborted, state.FailedOver}
		a.Migration = &state.Migration{ID: m.ID, Phase: phases[r.IntN(len(phases))]}
	}
	if r.IntN(8) > 0 {
		a.Pod = &state.Pod{Name: m.Pod, UID: m.UID, Node: []string{"ams", "fra", "nyc"}[r.IntN(3)], Epoch: r.Uint64N(5)}
		a.Pod.Migration = []string{"", m.ID, "m-2"}[r.IntN(3)]
		if r.IntN(2) == 0 {
			a.Pod.Origin = &state.Origin{Kind: state.OriginFrozen, Move: m.ID, Epoch: a.Pod.Epoch}
		}
	}
	return a
}

func steps(r *rand.Rand) []Step {
	all := []Step{
		Preflight, Reserve, Presync, Freeze, Final, Restore, Activate, Release, Retire, Thaw, Revive,
		Prepare, Resume, Return, Cancel, Discard, Destroy, Forget,
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
