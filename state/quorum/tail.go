package quorum

import "errors"

// How much of the past a server keeps for those that follow it and were away, or are slow. Whoever has missed more
// gets a snapshot.
const (
	tailEntries = 1024
	tailBytes   = 4 << 20
	// batch is how many entries a follower is given at a time.
	batch = 64
)

// position is a point in the history of the state.
type position struct {
	Index  uint64 `json:"index"`  // commands applied
	Latest string `json:"latest"` // see state.View.Latest: tells apart histories of the same length
}

// entry is a command, and where its history stood when it was applied.
type entry struct {
	at   position
	data []byte // encoded, as state.Encode does
}

// tail is the end of what a machine has applied.
type tail struct {
	base    position // before the first entry
	entries []entry
	bytes   int
}

// reset forgets all: the history goes on from at.
func (t *tail) reset(at position) { *t = tail{base: at} }

func (t *tail) add(e entry) {
	t.entries = append(t.entries, e)
	t.bytes += len(e.data)
	for len(t.entries) > tailEntries || t.bytes > tailBytes {
		t.base = t.entries[0].at
		t.bytes -= len(t.entries[0].data)
		t.entries[0] = entry{} // the array may live on
		t.entries = t.entries[1:]
	}
}

func (t *tail) end() position {
	if n := len(t.entries); n > 0 {
		return t.entries[n-1].at
	}
	return t.base
}

var (
	errGone     = errors.New("what follows is not kept any more")
	errDiverged = errors.New("this is another history")
)

// after returns the next entries of a history that has come to at: none if this one has not come as far. The error
// is errGone or errDiverged.
func (t *tail) after(at position) ([]entry, error) {
	end := t.end()
	switch {
	case at.Index > end.Index:
		return nil, nil
	case at.Index < t.base.Index:
		return nil, errGone
	}
	known, next := t.base, int(at.Index-t.base.Index)
	if next > 0 {
		known = t.entries[next-1].at
	}
	if known != at {
		return nil, errDiverged
	}
	return append([]entry(nil), t.entries[next:min(next+batch, len(t.entries))]...), nil
}
