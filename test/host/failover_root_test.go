//go:build root

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
)

// withFailover gives a pod's manifest the policy under which others start it when its host is lost.
func withFailover(manifest []byte) []byte {
	return []byte(strings.Replace(string(manifest), "  name: redis\n", "  name: redis\n  annotations: {drover.dev/failover: restart}\n", 1))
}

// The host of a Redis loses its power. The Redis begins anew elsewhere, while a pod without a policy waits; when the host is back it
// removes its copy, and that is all that is left to do.
func TestPodOfALostHostBeginsAnewElsewhere(t *testing.T) {
	m := begin(t)
	require.NoError(t, m.load(t.Context(), "fra", "nginx", m.images["nginx"]))
	m.run(t, "fra", []byte(ticking))
	redis := m.run(t, "fra", withFailover(workload.Redis))
	client := m.redisClient(t, lab.ClientSite, redis)
	require.NoError(t, client.Set(t.Context(), "what", "the lost host had", 0).Err())
	copies := m.watchCopies(t, redis.UID)

	lost := time.Now()
	m.crash(t, "fra")
	pod := m.awaitServing(t, redis, client)
	t.Logf("it serves on %s, %s after the loss of fra", pod.Node, time.Since(lost).Round(100*time.Millisecond))
	require.NotEqual(t, "fra", pod.Node)
	require.Equal(t, uint64(2), pod.Epoch)
	require.NotNil(t, pod.Origin)
	require.Equal(t, "fra", pod.Origin.From)
	require.Equal(t, "image", pod.Origin.Kind)
	require.Contains(t, pod.Origin.Lost, "its memory")
	require.ErrorIs(t, client.Get(t.Context(), "what").Err(), goredis.Nil, "it began anew")
	waiting, err := m.clients["ams"].GetPod(t.Context(), "ticking")
	require.NoError(t, err)
	require.Equal(t, "fra", waiting.Node)
	require.Contains(t, waiting.Reason, "it waits for fra")

	m.boot(t, "fra")
	m.awaitWhole(t)
	m.awaitGone(t, "fra", redis.UID)
	require.Equal(t, pod.Node, m.awaitSettled(t, "redis").Node)
	require.Equal(t, "fra", m.awaitSettled(t, "ticking").Node)
	require.NoError(t, client.Ping(t.Context()).Err(), "the return of fra disturbs nobody")
	require.Empty(t, copies(), "it ran at two places at once")
	_, err = m.migrate(t.Context(), t, "nyc", "redis", "fra")
	require.NoError(t, err, "a later move to where it was")
	require.Equal(t, "fra", m.awaitSettled(t, "redis").Node)
}

// The host is cut off and lives, and of all it is the one that leads the mesh, and grants the leases. Its copy is frozen before another begins, and removed when it hears of the mesh again. A pod
// without a policy runs on.
func TestPodOfAHostThatIsCutOffRunsInOnePlace(t *testing.T) {
	m := begin(t)
	status, err := m.clients["ams"].GetStatus(t.Context())
	require.NoError(t, err)
	site := status.Leader
	require.NoError(t, m.load(t.Context(), site, "nginx", m.images["nginx"]))
	ticks := m.run(t, site, []byte(ticking))
	redis := m.run(t, site, withFailover(workload.Redis))
	from := "fra" // the client's own way to pods leads through one of the nodes
	if site == from {
		from = "nyc"
	}
	client := m.redisClient(t, from, redis)
	copies := m.watchCopies(t, redis.UID)

	lost := time.Now()
	m.cutOff(t, site)
	pod := m.awaitServing(t, redis, client)
	t.Logf("it serves on %s, %s after %s, the leader, was cut off", pod.Node, time.Since(lost).Round(100*time.Millisecond), site)
	require.NotEqual(t, site, pod.Node)
	require.Equal(t, []string{site}, m.running(ticks.UID), "without a policy it runs on")

	m.heal(t)
	m.awaitWhole(t)
	m.awaitGone(t, site, redis.UID)
	require.Equal(t, pod.Node, m.awaitSettled(t, "redis").Node)
	require.NoError(t, client.Ping(t.Context()).Err())
	require.Empty(t, copies(), "it ran at two places at once")
}

// The cut is shorter than it takes to give the host up: the pod is frozen at most for a while, and stays.
func TestAShortCutFailsNothingOver(t *testing.T) {
	m := begin(t)
	redis := m.run(t, "fra", withFailover(workload.Redis))
	client := m.redisClient(t, lab.ClientSite, redis)
	require.NoError(t, client.Set(t.Context(), "what", "it had", 0).Err())
	m.cutOff(t, "fra")
	_, err := m.clients["ams"].GetPod(t.Context(), "redis")
	require.NoError(t, err)
	m.heal(t)
	m.awaitWhole(t)
	pod := m.awaitSettled(t, "redis")
	require.Equal(t, "fra", pod.Node)
	require.Equal(t, uint64(1), pod.Epoch)
	require.Nil(t, pod.Origin)
	require.Equal(t, "it had", client.Get(t.Context(), "what").Val())
}

// The target's host loses its power right after it has taken the pod over. The frozen copy at the source is the newest state there
// is: it goes on with all that it had at the freeze, and its client, which has been told to, connects anew.
func TestFrozenCopyIsRevivedWhenTheTargetIsLost(t *testing.T) {
	m := begin(t)
	redis := m.run(t, "ams", withFailover(workload.Redis))
	client := m.redisClient(t, lab.ClientSite, redis)
	require.NoError(t, client.Set(t.Context(), "what", "it had at the freeze", 0).Err())
	counter, err := workload.NewCounter(t.Context(), m.Dialer(lab.ClientSite), net.JoinHostPort(redis.Address, "6379"))
	require.NoError(t, err)
	counter.Start()
	m.requireCounting(t, counter)
	copies := m.watchCopies(t, redis.UID)

	m.wrapCRIU(t, "fra", `case "$1" in swrk) until [ -e /run/go ]; do read -r _ < /proc/uptime; done;; esac`)
	lost := make(chan time.Time, 1)
	go func() {
		waitFor(func() bool {
			all, err := m.clients["nyc"].ListMigrations(t.Context())
			return err == nil && slices.ContainsFunc(all, func(g api.Migration) bool { return g.Phase == api.MigrationActivated })
		})
		lost <- time.Now()
		m.crash(t, "fra")
	}()
	_, err = m.migrate(t.Context(), t, "ams", "redis", "fra")
	t.Logf("the caller hears: %v", err)
	require.Error(t, err)
	pod := m.awaitServing(t, redis, client)
	t.Logf("it serves on %s, %s after the loss of fra", pod.Node, time.Since(<-lost).Round(100*time.Millisecond))
	require.Equal(t, "ams", pod.Node)
	require.Equal(t, uint64(3), pod.Epoch)
	require.Equal(t, "frozen", pod.Origin.Kind)
	require.Equal(t, "fra", pod.Origin.From)
	require.Equal(t, "it had at the freeze", client.Get(t.Context(), "what").Val())
	_, err = counter.Stop(t.Context())
	require.ErrorIs(t, err, unix.ECONNRESET, "a connection that was open at the freeze")
	moves, err := m.clients["nyc"].ListMigrations(t.Context())
	require.NoError(t, err)
	require.Equal(t, api.MigrationFailedOver, moves[len(moves)-1].Phase)

	m.boot(t, "fra")
	m.awaitWhole(t)
	require.Equal(t, "ams", m.awaitSettled(t, "redis").Node)
	require.Empty(t, copies(), "it ran at two places at once")
	_, err = m.migrate(t.Context(), t, "nyc", "redis", "fra")
	require.NoError(t, err, "a later move")
	require.Equal(t, "fra", m.awaitSettled(t, "redis").Node)
}

// redisClient connects from a site, anew whenever its connection has broken, and waits for none for long.
func (m *mesh) redisClient(t *testing.T, from string, pod api.Pod) *goredis.Client {
	t.Helper()
	const patience = time.Second
	c := goredis.NewClient(&goredis.Options{
		Addr: net.JoinHostPort(pod.Address, "6379"), Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1,
		ReadTimeout: patience, WriteTimeout: patience, DialTimeout: patience, Dialer: m.Dialer(from),
	})
	t.Cleanup(func() { _ = c.Close() })
	eventually(t, "the Redis answers", func() error { return c.Ping(t.Context()).Err() })
	return c
}

// awaitServing waits until a pod that was lost answers again, and its node says so.
func (m *mesh) awaitServing(t *testing.T, before api.Pod, client *goredis.Client) (pod api.Pod) {
	t.Helper()
	eventually(t, "the pod serves elsewhere", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		via := "ams"
		if before.Node == via {
			via = "nyc"
		}
		if pod, err = m.clients[via].GetPod(ctx, before.Name); err != nil {
			return err
		}
		if pod.Epoch == before.Epoch || pod.Phase != api.PodRunning {
			return fmt.Errorf("%s at %s in epoch %d: %s", pod.Phase, pod.Node, pod.Epoch, pod.Reason)
		}
		return client.Ping(ctx).Err()
	})
	return pod
}

// cutOff cuts a site from all others, and from the client.
func (m *mesh) cutOff(t *testing.T, site string) {
	t.Helper()
	links, err := m.WAN().Links(t.Context())
	require.NoError(t, err)
	for _, l := range links {
		if l.From == site {
			require.NoError(t, m.WAN().Cut(t.Context(), l.From, l.To))
		}
	}
}

// crash takes the power from a site, and boot gives it back. The agent's socket is another then.
func (m *mesh) crash(t *testing.T, site string) {
	t.Helper()
	require.NoError(t, m.Crash(context.WithoutCancel(t.Context()), site))
	t.Cleanup(func() {
		if _, err := m.Socket(site); err != nil {
			m.boot(t, site)
		}
	})
}

func (m *mesh) boot(t *testing.T, site string) {
	t.Helper()
	require.NoError(t, m.Boot(context.WithoutCancel(t.Context()), site))
	socket, err := m.Socket(site)
	require.NoError(t, err)
	m.clients[site].Close()
	m.clients[site] = api.NewClient(socket)
}

// awaitGone waits until a site has nothing of a pod.
func (m *mesh) awaitGone(t *testing.T, site, uid string) {
	t.Helper()
	eventually(t, site+" has nothing of the pod any more", func() error {
		if slices.Contains(m.copies(t, uid), site) {
			return errors.New("there are processes")
		}
		for _, dir := range []string{"/var/lib/drover/runtime/pods/" + uid, "/run/drover/pods/" + uid, "/run/netns/drover-" + uid} {
			path, err := m.Path(site, dir)
			if err != nil {
				return err
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: %w", dir, err)
			}
		}
		return nil
	})
}

// running returns the sites where processes of a pod exist and are not frozen.
func (m *mesh) running(uid string) (sites []string) {
	for _, s := range m.Sites() {
		at := "drover-lab-" + m.Name() + "/" + s.Name + "/*/" + uid + "/*/cgroup.procs"
		for _, root := range []string{"/sys/fs/cgroup/freezer/", "/sys/fs/cgroup/"} {
			lists, _ := filepath.Glob(root + at) // the pattern is good
			if slices.ContainsFunc(lists, unfrozen) {
				sites = append(sites, s.Name)
				break
			}
		}
	}
	return sites
}

// unfrozen says whether a cgroup has processes that run. One that vanishes meanwhile has none; what was killed under the freezer is
// let go to die, and executes nothing.
func unfrozen(list string) bool {
	procs, err := os.ReadFile(list)
	if err != nil {
		return false
	}
	dir := filepath.Dir(list)
	if text, err := os.ReadFile(filepath.Join(dir, "freezer.state")); err == nil {
		if strings.TrimSpace(string(text)) == "FROZEN" {
			return false
		}
	} else if text, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err != nil || strings.Contains(string(text), "frozen 1") {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(procs)), lab.Executes)
}

// watchCopies looks all the time where a pod runs, until the test ends. What it returns says when that was at several places.
func (m *mesh) watchCopies(t *testing.T, uid string) (found func() []string) {
	var mu sync.Mutex
	var several []string
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if sites := m.running(uid); len(sites) > 1 {
				mu.Lock()
				several = append(several, fmt.Sprintf("%s: %v", time.Now().Format("15:04:05.000"), sites))
				mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() { cancel(); watching.Wait() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(several)
	}
}
