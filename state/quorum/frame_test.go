package quorum

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	v := filled(t, 50).view()
	require.NoError(t, writeMessage(&b, frameNews, news{Leader: "ams", Voters: []string{"ams"}}))
	w := bufio.NewWriter(&b)
	require.NoError(t, writeSnapshot(w, v, false))
	require.NoError(t, writeEntry(w, entry{position{51, "p-51"}, []byte("command")}))
	require.NoError(t, w.Flush())

	var n news
	require.NoError(t, readMessage(&b, frameNews, &n))
	require.Equal(t, "ams", n.Leader)
	var h snapshotHead
	require.NoError(t, readMessage(&b, frameSnapshot, &h))
	require.Equal(t, positionOf(v), h.At)
	got := state.New()
	require.NoError(t, got.Restore(&partReader{r: &b}))
	require.Equal(t, v.Index(), got.View().Index())
	kind, payload, err := readFrame(&b)
	require.NoError(t, err)
	require.EqualValues(t, frameEntry, kind)
	index, data, err := readEntry(payload)
	require.NoError(t, err)
	require.EqualValues(t, 51, index)
	require.Equal(t, "command", string(data))
	_, _, err = readFrame(&b)
	require.Equal(t, io.EOF, err)
}

// filled is a machine that has applied so many commands.
func filled(t testing.TB, commands int) *machine {
	m := newMachine(&board{})
	for range commands {
		data, err := state.Encode(newID(), register("ams", true))
		require.NoError(t, err)
		_, err = m.apply(data)
		require.NoError(t, err)
	}
	return m
}

func TestTail(t *testing.T) {
	m := filled(t, tailEntries+10)
	require.Len(t, m.tail.entries, tailEntries)
	require.EqualValues(t, 10, m.tail.base.Index)
	end := m.tail.end()
	require.Equal(t, positionOf(m.view()), end)

	_, err := m.after(position{9, "x"})
	require.ErrorIs(t, err, errGone)
	_, err = m.after(position{10, "x"})
	require.ErrorIs(t, err, errDiverged)
	_, err = m.after(position{end.Index, "x"})
	require.ErrorIs(t, err, errDiverged)
	ahead, err := m.after(position{end.Index + 1, "x"})
	require.NoError(t, err, "it can't know yet")
	require.Empty(t, ahead)

	at, count := m.tail.base, 0
	for {
		entries, err := m.after(at)
		require.NoError(t, err)
		if len(entries) == 0 {
			break
		}
		require.LessOrEqual(t, len(entries), batch)
		require.Equal(t, at.Index+1, entries[0].at.Index)
		at, count = entries[len(entries)-1].at, count+len(entries)
	}
	require.Equal(t, tailEntries, count)
	require.Equal(t, end, at)
}

// FuzzFollow has a plain node follow something that sends whatever it likes.
func FuzzFollow(f *testing.F) {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	m := filled(f, 3)
	entries, err := m.after(position{})
	require.NoError(f, err)
	for _, e := range entries {
		require.NoError(f, writeEntry(w, e))
	}
	require.NoError(f, writeMessage(w, frameNews, news{Leader: "ams"}))
	require.NoError(f, writeSnapshot(w, m.view(), true))
	require.NoError(f, w.Flush())
	f.Add(b.Bytes())
	f.Add([]byte{frameEntry, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{framePart, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		q := &Quorum{cfg: Config{Node: "syd", Log: testLog("syd"), timing: quick()}, log: testLog("syd"), board: &board{}}
		q.ctx, q.cancel = context.WithCancel(context.Background())
		defer q.cancel()
		follower := newFollower(q, newMachine(q.board))
		err := follower.take(&session{node: "ams", r: bufio.NewReader(bytes.NewReader(data))})
		require.Error(t, err, "it ends with the stream at the latest")
		require.Equal(t, follower.machine.view().Index(), q.View().Index())
	})
}
