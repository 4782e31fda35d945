//go:build root

package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/programs"
	"github.com/drover-mesh/drover/test/workload"
)

// visitor asks the shop over one connection that it keeps, and knows each answer.
type visitor struct {
	name string
	http http.Client
	url  string
	n    int
}

func newVisitor(dial workload.Dialer, address, name string) *visitor {
	dialled := false
	v := &visitor{name: name, url: "http://" + address + "/" + name}
	v.http.Transport = &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dialled {
				return nil, fmt.Errorf("the one connection of %s has broken", name)
			}
			conn, err := dial(ctx, network, address)
			dialled = err == nil
			return conn, err
		},
	}
	return v
}

var _ programs.Client = (*visitor)(nil)

// Beat implements [programs.Client].
func (v *visitor) Beat(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, nil)
	if err != nil {
		return err
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	v.n++
	var inCache, inMemory, onDisk int
	if _, err := fmt.Sscan(string(answer), &inCache, &inMemory, &onDisk); err != nil {
		return fmt.Errorf("the answer is %q (%s)", answer, resp.Status)
	}
	if inCache != v.n || inMemory != v.n || onDisk < v.n {
		return fmt.Errorf("request %d of %s is %d in the cache, %d in memory; %d are on disk", v.n, v.name, inCache, inMemory, onDisk)
	}
	return nil
}

// Close implements [programs.Client].
func (v *visitor) Close() error {
	v.http.CloseIdleConnections()
	return nil
}

// A pod of a web server with several processes, an application in JavaScript and a cache moves 20 times under the load of four
// visitors: no connection breaks, from outside or between the containers, and every counter is right.
func TestPodOfThreeContainersMovesTwentyTimes(t *testing.T) {
	m := begin(t)
	node, err := workload.Image(t.Context(), func(line string) { t.Log(line) }, "nodejs", "dash", "coreutils")
	require.NoError(t, err)
	sites := []string{"ams", "fra"}
	for _, site := range sites {
		require.NoError(t, m.load(t.Context(), site, "nodejs", node))
		require.NoError(t, m.load(t.Context(), site, "nginx", m.images["nginx"]))
	}
	pod := m.run(t, "ams", workload.Shop)
	address := net.JoinHostPort(pod.Address, "80")
	eventually(t, "the shop is open", func() error {
		return newVisitor(m.Dialer(lab.ClientSite), address, "opener").Beat(t.Context())
	})
	var all []*beats
	for i := range 4 {
		b := startBeats(newVisitor(m.Dialer(lab.ClientSite), address, fmt.Sprintf("visitor%d", i)))
		defer b.end()
		all = append(all, b)
	}
	for i := range 20 {
		report, err := m.migrate(t.Context(), t, "ams", "shop", sites[(i+1)%2])
		require.NoError(t, err, "move %d", i+1)
		var gap float64
		for _, b := range all {
			require.NoError(t, b.await(3), "after move %d", i+1)
			gap = max(gap, api.Milliseconds(b.longest()))
		}
		t.Logf("move %d: downtime %.0f ms, a visitor waited %.0f ms at most", i+1, report.DowntimeMS, gap)
	}
	for _, b := range all {
		require.NoError(t, b.end())
	}
	prepared, _, _ := m.drover(t, pod.Node, "pod", "exec", "shop", "-c", "app", "--", "cat", "/shared/prepared")
	require.Equal(t, "prepared\n", prepared, "the init container ran once")
	now, err := m.clients["ams"].GetPod(t.Context(), "shop")
	require.NoError(t, err)
	for _, c := range now.Containers {
		require.Zero(t, c.Restarts, c.Name)
	}
}
