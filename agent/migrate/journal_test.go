package migrate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// planned is a plan whose header fills several blocks.
func planned() Plan {
	return Plan{ID: "m1", Pod: state.Pod{UID: "u1", Manifest: bytes.Repeat([]byte("1"), 1000)}, Source: "ams", Target: "fra"}
}

// written makes a journal with these steps and returns its file.
func written(t *testing.T, dir string, role Role, steps ...string) string {
	t.Helper()
	j, err := createJournal(dir, role, planned())
	require.NoError(t, err)
	for _, s := range steps {
		require.NoError(t, j.Begin(s))
	}
	require.NoError(t, j.file.Close())
	return j.file.Name()
}

// reopened is the only journal in dir.
func reopened(t *testing.T, dir string, role Role) *Journal {
	t.Helper()
	all, err := openJournals(dir, role)
	require.NoError(t, err)
	require.Len(t, all, 1)
	t.Cleanup(func() { _ = all[0].file.Close() })
	return all[0]
}

// memory is a directory in memory, where the machine has one: a hundred moves would wait for a disk thousands of times.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "drover-journals-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func steps(j *Journal) []string {
	var names []string
	for _, e := range j.Entries() {
		names = append(names, e.Step)
	}
	return names
}

// records is where in the file of planned's journal the records begin.
func records(t *testing.T, content []byte) int {
	t.Helper()
	j := &Journal{}
	require.NoError(t, j.decode(content))
	return int(j.at) - len(j.entries)*blockSize
}

func TestJournalIsFoundAsItWasLeft(t *testing.T) {
	dir := memory(t)
	name := written(t, dir, AsTarget, "restore", "resume")
	j := reopened(t, dir, AsTarget)
	require.Equal(t, planned(), j.Plan)
	require.Equal(t, AsTarget, j.Role)
	require.Equal(t, []string{"restore", "resume"}, steps(j))
	require.NoError(t, j.Begin("return"))
	require.Equal(t, []string{"restore", "resume", "return"}, steps(reopened(t, dir, AsTarget)))
	_, err := createJournal(dir, AsTarget, planned())
	require.ErrorIs(t, err, os.ErrExist)
	require.FileExists(t, name)
	require.NoError(t, j.Remove())
	require.NoError(t, j.Remove(), "twice")
	require.NoFileExists(t, name)
}

// What a source does under the freeze is recorded with it, and costs nothing later.
func TestFreezeIsRecordedWithWhatFollows(t *testing.T) {
	dir := memory(t)
	j, err := createJournal(dir, AsSource, planned())
	require.NoError(t, err)
	require.NoError(t, j.Begin("presync"))
	require.False(t, j.Begun("freeze"))
	require.NoError(t, j.Begin("freeze"))
	before, at := steps(j), j.at
	for _, s := range []string{"final", "restore", "activate", "release"} {
		require.True(t, j.Begun(s))
		require.NoError(t, j.Begin(s))
	}
	require.Equal(t, at, j.at)
	require.NoError(t, j.Begin("retire"))
	require.Equal(t, append(before, "retire"), steps(reopened(t, dir, AsSource)))
}

// A step overwrites blocks that the file has: a full disk can't keep a move from its end.
func TestStepsTakeNoSpace(t *testing.T) {
	dir := memory(t)
	name := written(t, dir, AsTarget)
	var before, after syscall.Stat_t
	require.NoError(t, syscall.Stat(name, &before))
	j := reopened(t, dir, AsTarget)
	for i := range journalRoom {
		require.NoError(t, j.Begin(fmt.Sprint("step ", i)))
	}
	require.NoError(t, syscall.Stat(name, &after))
	require.Equal(t, before.Size, after.Size)
	require.Equal(t, before.Blocks, after.Blocks)
	require.NoError(t, j.Begin("one more"))
	require.Len(t, reopened(t, dir, AsTarget).Entries(), journalRoom+1)
}

// Whatever part of the last record a loss of power lets through, it counts wholly or not at all, and the next agent
// records on.
func TestTornRecordCountsForNothing(t *testing.T) {
	dir := memory(t)
	name := written(t, dir, AsTarget, "restore", "resume")
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	last := records(t, whole) + blockSize
	for cut := range blockSize {
		for kind, torn := range map[string][]byte{
			"its head": append(bytes.Clone(whole[last:last+cut]), make([]byte, blockSize-cut)...),
			"its tail": append(make([]byte, cut), whole[last+cut:last+blockSize]...),
			"garbage":  append(bytes.Clone(whole[last:last+cut]), bytes.Repeat([]byte{0xa5}, blockSize-cut)...),
		} {
			content := bytes.Clone(whole)
			copy(content[last:], torn)
			require.NoError(t, os.WriteFile(name, content, 0o600))
			all, err := openJournals(dir, AsTarget)
			require.NoError(t, err, "%s, %d", kind, cut)
			require.Len(t, all, 1)
			want := []string{"restore"}
			if bytes.Equal(content, whole) {
				want = append(want, "resume")
			}
			require.Equal(t, want, steps(all[0]), "%s, %d", kind, cut)
			require.NoError(t, all[0].file.Close())
		}
	}
	j := reopened(t, dir, AsTarget)
	require.NoError(t, j.Begin("return"))
	require.Equal(t, []string{"restore", "return"}, steps(reopened(t, dir, AsTarget)))
}

// A block that was synced and is not there any more, or is another, is never taken for what had not begun.
func TestDamageIsRefused(t *testing.T) {
	dir := memory(t)
	name := written(t, dir, AsTarget, "restore", "resume", "return")
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	last := records(t, whole) + 2*blockSize
	refused := func(content []byte, what string, at int) {
		require.NoError(t, os.WriteFile(name, content, 0o600))
		all, err := openJournals(dir, AsTarget)
		require.ErrorContains(t, err, name, "%s at %d", what, at)
		require.Empty(t, all)
		left, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, content, left, "it is left as it is")
	}
	for at := 0; at < last; at += blockSize {
		lost := bytes.Clone(whole)
		clear(lost[at : at+blockSize])
		refused(lost, "lost block", at)
	}
	for at := range last {
		changed := bytes.Clone(whole)
		changed[at] ^= 1
		refused(changed, "changed byte", at)
	}
	for at := 1; at < records(t, whole); at += 37 {
		refused(whole[:at], "cut", at)
	}
}

func TestOneDamagedJournalHoldsUpNoOther(t *testing.T) {
	dir := memory(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m2.target"), []byte("garbage\n"), 0o600))
	written(t, dir, AsTarget, "restore")
	all, err := openJournals(dir, AsTarget)
	require.ErrorIs(t, err, errDamaged)
	require.ErrorContains(t, err, "m2.target")
	require.Len(t, all, 1)
	require.Equal(t, "m1", all[0].Plan.ID)
	require.FileExists(t, filepath.Join(dir, "m2.target"))
	require.NoError(t, all[0].file.Close())
}

// A record of another journal, which an old block of the disk could be, is none of this one's.
func TestRecordOfAnotherJournalDoesNotPass(t *testing.T) {
	dir := memory(t)
	name := written(t, dir, AsTarget, "restore")
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	other := &Journal{Role: AsTarget, Plan: Plan{ID: "m2"}}
	_, err = other.encode()
	require.NoError(t, err)
	foreign, err := other.record(1, []string{"return"}, time.Now())
	require.NoError(t, err)
	copy(content[records(t, content)+blockSize:], foreign)
	require.NoError(t, os.WriteFile(name, content, 0o600))
	require.Equal(t, []string{"restore"}, steps(reopened(t, dir, AsTarget)))
}

func TestJournalOfALaterVersionIsRefused(t *testing.T) {
	dir := memory(t)
	name := written(t, dir, AsTarget, "restore")
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, bytes.Replace(content, []byte("journal 2"), []byte("journal 3"), 1), 0o600))
	_, err = openJournals(dir, AsTarget)
	require.ErrorContains(t, err, "it is of version 3, and this agent knows 2")
}

func TestStepsBegunAtOnce(t *testing.T) {
	dir := memory(t)
	written(t, dir, AsTarget)
	j := reopened(t, dir, AsTarget)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { _ = j.Begin(fmt.Sprint("step ", i%10)) })
	}
	all.Wait()
	require.Len(t, reopened(t, dir, AsTarget).Entries(), 10)
}

// Journals of version 1 are what an agent finds that is new since its predecessor died in a move.
func TestJournalOfVersion1(t *testing.T) {
	const header = `{"role":"source","plan":{"id":"m1","pod":{"uid":"u1"},"source":"ams","target":"fra","mode":"stop-copy"}}` + "\n"
	const step = `{"step":"freeze","at":"2026-01-02T03:04:05Z"}` + "\n"
	for name, test := range map[string]struct {
		content string
		want    []string
	}{
		"whole":       {header + step, []string{"freeze"}},
		"half a line": {header + step + step[:20], []string{"freeze"}},
		"no step yet": {header, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := memory(t)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "m1.source"), []byte(test.content), 0o600))
			for range 2 { // the second time it is one of today's
				j := reopened(t, dir, AsSource)
				require.Equal(t, "fra", j.Plan.Target)
				require.Equal(t, test.want, steps(j))
			}
			content, err := os.ReadFile(filepath.Join(dir, "m1.source"))
			require.NoError(t, err)
			require.Contains(t, string(content[:blockSize]), "drover journal 2 ")
			require.NoError(t, reopened(t, dir, AsSource).Begin("retire"))
			require.Equal(t, append(test.want, "retire"), steps(reopened(t, dir, AsSource)))
		})
	}
	for name, content := range map[string]string{"half a header": header[:30], "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			dir := memory(t)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "m1.source"), []byte(content), 0o600))
			all, err := openJournals(dir, AsSource)
			require.NoError(t, err)
			require.Empty(t, all)
			require.NoFileExists(t, filepath.Join(dir, "m1.source"), "its move had not begun")
		})
	}
	t.Run("garbage in the middle", func(t *testing.T) {
		dir := memory(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "m1.source"), []byte(header+"garbage\n"+step), 0o600))
		_, err := openJournals(dir, AsSource)
		require.ErrorIs(t, err, errDamaged)
		require.FileExists(t, filepath.Join(dir, "m1.source"))
	})
}

func TestDraftsAreCleared(t *testing.T) {
	dir := filepath.Join(memory(t), "state", "moves")
	require.NoError(t, MakeJournals(dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m1.source.new"), []byte("half a jour"), 0o600))
	written(t, dir, AsTarget, "restore")
	all, err := openJournals(dir, AsSource)
	require.NoError(t, err)
	require.Empty(t, all, "a draft is no journal")
	require.NoError(t, MakeJournals(dir))
	require.NoFileExists(t, filepath.Join(dir, "m1.source.new"))
	require.Equal(t, []string{"restore"}, steps(reopened(t, dir, AsTarget)))
}
