package preflight

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatPassesIsNoRefusal(t *testing.T) {
	c := &container{Container: Container{Name: "app"}}
	p, q := &process{container: c, pid: 100, inside: 1, name: "a"}, &process{container: c, pid: 101, inside: 2, name: "b"}
	l := &look{}
	see := func(what func(*look)) {
		next := &look{}
		what(next)
		next.age(l.findings)
		l = next
	}
	stays := func(l *look) { l.suspect(p, "cure", "it stays") }
	see(func(l *look) { stays(l); l.suspectOf(q, "first", "cure", "it changes") })
	see(func(l *look) { stays(l); l.suspectOf(q, "second", "cure", "it changes") })
	require.True(t, l.findings[0].open(), "seen twice")
	see(func(l *look) {
		l.suspectOf(q, "third", "cure", "it changes")
		stays(l)
		l.refuse(q, "cure", "it is so")
	})
	assert.True(t, l.findings[0].open(), "another one each time")
	assert.False(t, l.findings[1].open(), "seen three times")
	assert.False(t, l.findings[2].open(), "it can't pass")
	see(func(*look) {})
	see(stays)
	assert.True(t, l.findings[0].open(), "it was away meanwhile")
}

func TestARefusalSpeaksOfAllProcesses(t *testing.T) {
	app, db := &container{Container: Container{Name: "app"}}, &container{Container: Container{Name: "db"}}
	l := &look{}
	for i := range 3 {
		p := &process{container: app, pid: 100 + i, inside: 1 + i, name: "nginx"}
		l.refuse(p, "cure", "it uses io_uring")
		l.refuse(p, "cure", "it uses io_uring") // a second ring
	}
	l.refuse(&process{container: db, pid: 200, inside: 7, name: "redis-server"}, "cure", "it uses io_uring")
	l.blame(app, "cure", "somebody has mounted /mnt in it")
	got := refusals(l.findings)
	assert.Equal(t, []Refusal{
		{Container: "app", Process: "nginx", PID: 1, HostPID: 100, Others: []int{2, 3}, Reason: "it uses io_uring", Cure: "cure"},
		{Container: "db", Process: "redis-server", PID: 7, HostPID: 200, Reason: "it uses io_uring", Cure: "cure"},
		{Container: "app", Reason: "somebody has mounted /mnt in it", Cure: "cure"},
	}, got)
	assert.Equal(t, "nginx (pid 1 and 2 more)", got[0].Who())
	assert.Equal(t, "redis-server (pid 7)", got[1].Who())
	assert.Equal(t, "app", got[2].Who())
}

// A pod whose first process is gone can't be looked at; one whose cgroup is can't either.
func TestScanOfNothing(t *testing.T) {
	_, err := Scan(t.Context(), Target{Containers: []Container{{Name: "app", Init: 1 << 22, Cgroups: []string{t.TempDir()}}}})
	require.ErrorContains(t, err, "container app: its first process")
	_, err = Scan(t.Context(), Target{Containers: []Container{{Name: "app", Init: os.Getpid(), Cgroups: []string{"/no/such/cgroup"}}}})
	require.ErrorContains(t, err, "/no/such/cgroup")
	report, err := Scan(t.Context(), Target{})
	require.NoError(t, err, "a pod without containers")
	require.Empty(t, report.Refusals)
}
