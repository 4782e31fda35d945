//go:build root

package criu

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// images dumps the pod of a site, with its egress shut, and gives the directory.
func (s *site) images(t *testing.T) string {
	t.Helper()
	o := s.dump(t)
	d, err := StartDump(limited(t), o)
	require.NoError(t, err)
	require.NoError(t, o.Freezer.Freeze(limited(t)))
	require.NoError(t, d.Run(limited(t), s.mute, s.pack))
	return o.Images
}

func TestPodMovesBackAndForthTenTimes(t *testing.T) {
	from, to := newSites(t)
	c := from.start(t)
	for range 10 {
		c.ask(t)
		began := time.Now()
		images := from.images(t)
		dumped := time.Since(began)
		o := to.prepare(t, from, images)
		began = time.Now()
		r, err := StartRestore(limited(t), o)
		require.NoError(t, err)
		require.NoError(t, r.Restored(limited(t)))
		restored := time.Since(began)
		from.end(t)
		to.attract(t)
		began = time.Now()
		require.NoError(t, r.Resume(limited(t)))
		resumed := time.Since(began)
		c.ask(t)
		shared, err := os.ReadFile(to.dir + "/shm/shared")
		require.NoError(t, err)
		require.Equal(t, "shared memory", string(shared))
		t.Logf("dump %v, restore %v, resume %v", dumped, restored, resumed)
		from, to = to, from
	}
}

func TestThawBringsTheFrozenCopyBack(t *testing.T) {
	s, _ := newSites(t)
	c := s.start(t)
	for range 3 { // a pod may be dumped again after an abort
		s.images(t)
		frozen, err := s.freezer().Frozen()
		require.NoError(t, err)
		require.True(t, frozen)
		c.silent(t)
		s.unmute(t)
		require.NoError(t, s.freezer().thaw())
		c.ask(t)
	}
}

func TestDumpStepsThatFailLeaveThePodFrozenAndWhole(t *testing.T) {
	s, _ := newSites(t)
	c := s.start(t)
	fail := func() error { return errStop }
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, run := range map[string]func(*Dump) error{
		"network-lock": func(d *Dump) error { return d.Run(limited(t), fail, nil) },
		"post-dump":    func(d *Dump) error { return d.Run(limited(t), nil, fail) },
		"cancelled":    func(d *Dump) error { return d.Run(cancelled, nil, nil) },
		"CRIU killed": func(d *Dump) error { // with the processes in its hands, which then run until Run has frozen them again
			return d.Run(limited(t), d.criu.cmd.Process.Kill, nil)
		},
		"cancelled meanwhile": func(d *Dump) error {
			cancelled := make(chan error)
			err := d.Run(limited(t), func() error {
				go func() { cancelled <- d.Cancel() }()
				return nil
			}, func() error {
				<-limited(t).Done() // CRIU hangs up before that
				return nil
			})
			require.NoError(t, <-cancelled)
			return err
		},
		"never run": func(d *Dump) error { require.NoError(t, d.Cancel()); return errStop },
	} {
		t.Run(name, func(t *testing.T) {
			o := s.dump(t)
			d, err := StartDump(limited(t), o)
			require.NoError(t, err)
			require.NoError(t, o.Freezer.Freeze(limited(t)))
			require.Error(t, run(d))
			frozen, err := o.Freezer.Frozen()
			require.NoError(t, err)
			require.True(t, frozen)
			require.NoError(t, s.freezer().thaw())
			c.ask(t)
		})
	}
	t.Run("not frozen", func(t *testing.T) {
		d, err := StartDump(limited(t), s.dump(t))
		require.NoError(t, err)
		c.ask(t) // CRIU waits, and the pod runs
		require.ErrorContains(t, d.Run(limited(t), nil, nil), "not frozen")
		c.ask(t)
	})
}

func TestDumpNamesTheCause(t *testing.T) {
	s, _ := newSites(t)
	c := s.start(t)
	c.tell(t, "mptcp\n")
	o := s.dump(t)
	d, err := StartDump(limited(t), o)
	require.NoError(t, err)
	require.NoError(t, o.Freezer.Freeze(limited(t)))
	err = d.Run(limited(t), nil, nil)
	require.ErrorContains(t, err, "proto 262")
	require.NoError(t, s.freezer().thaw())
	c.ask(t)
}
