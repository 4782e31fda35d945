//go:build root

package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/demo"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
	"github.com/drover-mesh/drover/test/workload"
)

// fill is the random data in the Redis that moves, in bytes.
const fill = 8 << 20

// BenchmarkMoveAgainstRunc moves a Redis with 8 MiB of random data between two sites over 200 Mbit/s and 50 ms: drover,
// with the client's connection kept, against what one would script: runc checkpoint, the images over TCP, runc restore, and
// a client that connects again. Both times are of the pod standing still.
func BenchmarkMoveAgainstRunc(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	b.Cleanup(cancel)
	quiet := func(string) {}
	image, err := workload.Image(ctx, quiet, "redis-server")
	require.NoError(b, err)
	l, err := lab.Up(ctx, lab.Options{
		Name: "bench", Executable: build(b), Conditions: wan.Conditions{Rate: 200e6, Delay: 25 * time.Millisecond},
	}, quiet)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, l.Down(context.Background())) })

	ours := deployOurs(ctx, b, l, image)
	theirs := deployTheirs(ctx, b, l, image)
	var took [2]time.Duration
	for b.Loop() {
		took[0] += ours.move(ctx, b)
		took[1] += theirs.move(ctx, b)
	}
	report(b, took)
}

// build builds the drover under test.
func build(b *testing.B) string {
	binary := filepath.Join(b.TempDir(), "drover")
	cmd := exec.Command("go", "build", "-o", binary, "../../cmd/drover")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, string(out))
	return binary
}

// ourMove is a pod of drover's, and a client that counts in it.
type ourMove struct {
	client  *api.Client
	counter *workload.Counter
	at, to  string
}

func deployOurs(ctx context.Context, b *testing.B, l *lab.Lab, image string) *ourMove {
	socket, err := l.Socket("ams")
	require.NoError(b, err)
	m := &ourMove{client: api.NewClient(socket), at: "ams", to: "fra"}
	b.Cleanup(m.client.Close)
	pod, err := demo.Deploy(ctx, m.client, "redis", image, workload.Redis)
	require.NoError(b, err)
	m.counter, err = workload.NewCounter(ctx, l.Dialer(lab.ClientSite), pod.Address+":6379")
	require.NoError(b, err)
	require.NoError(b, m.counter.Fill(ctx, fill))
	m.counter.Start()
	b.Cleanup(func() {
		count, err := m.counter.Stop(context.Background())
		require.NoError(b, err)
		require.Zero(b, count.Lost+count.Duplicated)
	})
	return m
}

// move returns the downtime of a move to the other site.
func (m *ourMove) move(ctx context.Context, b *testing.B) time.Duration {
	r, err := m.client.Migrate(ctx, "redis", m.to, silent{})
	require.NoError(b, err)
	m.at, m.to = m.to, m.at
	require.NoError(b, m.counter.Await(ctx, 3))
	return time.Duration(r.DowntimeMS * float64(time.Millisecond))
}

type silent struct{}

func (silent) Started(api.Move) {}
func (silent) Event(api.Event)  {}
