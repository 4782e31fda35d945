//go:build root

package criu

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/isolation"
)

// orders are what an agent does until it is killed.
type orders struct {
	Unit    string // its cgroup
	Stop    string // where it stops and waits for its end
	Dump    DumpOptions
	Freezer testFreezer
	Restore RestoreOptions
}

const ordersVariable = "DROVER_CRIU_TEST_ORDERS"

// doomedAgent is an agent that comes no further than ordered.
func doomedAgent() int {
	var o orders
	if err := json.Unmarshal([]byte(os.Getenv(ordersVariable)), &o); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := os.WriteFile(filepath.Join(o.Unit, "cgroup.procs"), []byte("0"), 0); err != nil {
		fmt.Println(err)
		return 1
	}
	reach := func(stage string) error {
		if stage == o.Stop {
			fmt.Println("here")
			select {}
		}
		return nil
	}
	err := obey(context.Background(), o, reach)
	fmt.Println(err)
	return 1
}

func obey(ctx context.Context, o orders, reach func(string) error) error {
	if o.Restore.Work != "" {
		r, err := StartRestore(ctx, o.Restore)
		if err != nil {
			return err
		}
		if err := reach("restoring"); err != nil {
			return err
		}
		if err := r.Restored(ctx); err != nil {
			return err
		}
		return reach("restored")
	}
	o.Dump.Freezer = o.Freezer
	d, err := StartDump(ctx, o.Dump)
	if err != nil {
		return err
	}
	if err := reach("pre-dump, running"); err != nil {
		return err
	}
	if err := o.Freezer.Freeze(ctx); err != nil {
		return err
	}
	if err := reach("pre-dump, frozen"); err != nil {
		return err
	}
	return d.Run(ctx, func() error { return reach("network-lock") }, func() error { return reach("post-dump") })
}

// blows are how agents end. systemd sends a signal to the agent alone, as the unit says; a person's `systemctl kill`, and who
// writes to cgroup.kill of the unit, ends all that is in its cgroup.
var blows = map[string]func(t *testing.T, agent *os.Process){
	"killed":  func(t *testing.T, agent *os.Process) { require.NoError(t, agent.Kill()) },
	"stopped": func(t *testing.T, agent *os.Process) { require.NoError(t, agent.Signal(unix.SIGTERM)) },
	"killed with its unit": func(t *testing.T, _ *os.Process) {
		require.NoError(t, os.WriteFile(filepath.Join(ownCgroup(t, "unit"), "cgroup.kill"), []byte("1"), 0))
	},
}

// ownCgroup is a cgroup of version 2 of these tests.
func ownCgroup(t *testing.T, name string) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(root, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			dir := filepath.Join(root, isolation.Name(), name)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			return dir
		}
	}
	require.Fail(t, "no cgroup of version 2: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	return ""
}

// apart starts what outlives an agent.
func apart(t *testing.T) []string {
	return []string{"/bin/sh", "-ec", `echo $$ >"$0"; exec "$@"`, ownCgroup(t, "apart") + "/cgroup.procs"}
}

// crash lets an agent come that far and ends it by that blow.
func crash(t *testing.T, o orders, blow string) {
	t.Helper()
	o.Dump.Freezer, o.Unit = nil, ownCgroup(t, "unit")
	data, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := isolation.Command("agent")
	cmd.Env = append(cmd.Env, ordersVariable+"="+string(data))
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	blows[blow](t, cmd.Process)
	_ = cmd.Wait()
	require.Equal(t, "here\n", line)
}

func TestPodOutlivesAnAgentKilledWhileDumping(t *testing.T) {
	s, _ := newSites(t)
	c := s.start(t)
	for blow := range blows {
		for _, stage := range []string{"pre-dump, running", "pre-dump, frozen", "network-lock", "post-dump"} {
			t.Run(blow+"/"+stage, func(t *testing.T) {
				o := s.dump(t)
				crash(t, orders{Stop: stage, Dump: o, Freezer: s.freezer()}, blow)
				require.NoError(t, AwaitDump(limited(t), o.Work))
				require.NoError(t, AwaitDump(limited(t), o.Work), "a second time")
				frozen, err := o.Freezer.Frozen()
				require.NoError(t, err)
				require.Equal(t, stage != "pre-dump, running", frozen)
				if frozen {
					c.silent(t)
					require.NoError(t, s.freezer().thaw())
				}
				c.ask(t)
			})
		}
	}
	// None of that stands in the way of a dump that succeeds.
	s.images(t)
}

func TestRestoreOutlivesAnAgentKilledMeanwhile(t *testing.T) {
	from, to := newSites(t)
	c := from.start(t)
	for blow := range blows {
		for _, stage := range []string{"restoring", "restored"} {
			t.Run(blow+"/"+stage, func(t *testing.T) {
				o := to.prepare(t, from, from.images(t))
				crash(t, orders{Stop: stage, Restore: o}, blow)
				r, err := OpenRestore(o.Work)
				require.NoError(t, err)
				require.NoError(t, r.Restored(limited(t)))
				require.NoError(t, r.Restored(limited(t)), "a second time")
				from.end(t)
				to.attract(t)
				require.NoError(t, r.Resume(limited(t)))
				require.NoError(t, r.Resume(limited(t)), "a second time")
				require.ErrorIs(t, r.Cancel(limited(t)), ErrRan)
				c.ask(t)
				from, to = to, from
			})
		}
	}
	_, err := OpenRestore(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// An agent that dies once it has let a pod go leaves that on its way; the next one must neither kill the pod nor take it for
// one that never ran.
func TestCancelComesTooLateForAPodThatWasLetGo(t *testing.T) {
	from, to := newSites(t)
	c := from.start(t)
	r, err := StartRestore(limited(t), to.prepare(t, from, from.images(t)))
	require.NoError(t, err)
	require.NoError(t, r.Restored(limited(t)))
	from.end(t)
	to.attract(t)
	verdict, err := r.decide("resume")
	require.NoError(t, err)
	defer verdict.Close()
	again, err := OpenRestore(r.options.Work)
	require.NoError(t, err)
	require.ErrorIs(t, again.Cancel(limited(t)), ErrRan)
	require.ErrorIs(t, again.Cancel(limited(t)), ErrRan, "a second time")
	c.ask(t)
	require.NoError(t, again.Resume(limited(t)))
	c.ask(t)
}

// Whatever a restore is cancelled in, the source's copy still has the connection, and a restore afterwards succeeds.
func TestCancelledRestoreLeavesNothing(t *testing.T) {
	from, to := newSites(t)
	c := from.start(t)
	images := from.images(t)
	restored := func(t *testing.T, r *Restore) { require.NoError(t, r.Restored(limited(t))) }
	for name, interfere := range map[string]func(*testing.T, *Restore){
		"at once":              func(*testing.T, *Restore) {},
		"when all is restored": restored,
		"by a new agent": func(t *testing.T, r *Restore) {
			restored(t, r)
			again, err := OpenRestore(r.options.Work)
			require.NoError(t, err)
			*r = *again
		},
		"after conmon was killed": func(t *testing.T, r *Restore) {
			restored(t, r)
			killMatching(t, "--cid", "conmon")
		},
		"after runc was killed": func(t *testing.T, r *Restore) {
			restored(t, r)
			killMatching(t, "--tcp-established", "runc")
		},
		"after CRIU was killed": func(t *testing.T, r *Restore) {
			restored(t, r)
			killMatching(t, "restore", "criu")
		},
		"after the gate was killed": func(t *testing.T, r *Restore) {
			restored(t, r)
			killMatching(t, "gate.sh", "gate.sh")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := StartRestore(limited(t), to.prepare(t, from, images))
			require.NoError(t, err)
			interfere(t, r)
			require.NoError(t, r.Cancel(limited(t)))
			require.NoError(t, r.Cancel(limited(t)), "a second time")
			to.end(t)
			to.clean(t)
		})
	}
	require.NoError(t, from.freezer().thaw())
	from.unmute(t)
	c.ask(t)
}

func TestFailedRestoreNamesTheCauseAndLeavesNothing(t *testing.T) {
	from, to := newSites(t)
	c := from.start(t)
	images := from.images(t)
	for name, test := range map[string]struct {
		damage func(t *testing.T, images string)
		want   string
	}{
		"inventory is garbage": {func(t *testing.T, images string) {
			require.NoError(t, os.WriteFile(filepath.Join(images, "inventory.img"), []byte("not an image at all"), 0o600))
		}, "agic"},
		"pages are cut": {func(t *testing.T, images string) {
			require.NoError(t, os.Truncate(filepath.Join(images, "pages-1.img"), 1<<20))
		}, "without end"},
		"an image is missing": {func(t *testing.T, images string) {
			require.NoError(t, os.Remove(filepath.Join(images, "core-1.img")))
		}, "core-1.img"},
		"the descriptors are missing": {func(t *testing.T, images string) {
			require.NoError(t, os.Remove(filepath.Join(images, descriptorsFile)))
		}, descriptorsFile},
	} {
		t.Run(name, func(t *testing.T) {
			o := to.prepare(t, from, images)
			test.damage(t, o.Images)
			r, err := StartRestore(limited(t), o)
			require.NoError(t, err)
			err = r.Restored(limited(t))
			require.ErrorContains(t, err, test.want)
			require.NoError(t, r.Cancel(limited(t)))
			to.end(t)
			to.clean(t)
		})
	}
	// The images are good, so a restore after all that succeeds.
	r, err := StartRestore(limited(t), to.prepare(t, from, images))
	require.NoError(t, err)
	require.NoError(t, r.Restored(limited(t)))
	from.end(t)
	to.attract(t)
	require.NoError(t, r.Resume(limited(t)))
	c.ask(t)
}

// killMatching kills the processes of our namespace that have that name and that argument.
func killMatching(t *testing.T, argument, name string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	killed := 0
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == os.Getpid() {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if string(comm) == name+"\n" && contains(line, argument) {
			require.NoError(t, unix.Kill(pid, unix.SIGKILL))
			killed++
		}
	}
	require.Positive(t, killed, "no %s to kill", name)
}

func contains(line []byte, argument string) bool { return matches(string(line), []string{argument}) }
