//go:build root

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
	"github.com/drover-mesh/drover/test/workload"
)

// shared is the mesh of three sites that the tests use one after the other, each leaving it as it was.
var shared *mesh

// TestMain builds drover, starts the mesh, and after the tests looks for anything that is left of it.
func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/host:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root: run make test")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "drover-host-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "drover")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "../../cmd/drover")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building drover: %w: %s", err, out)
	}
	for _, name := range []string{labName, demoName, joinName} { // of a run that was killed
		if err := lab.Down(ctx, name); err != nil {
			return 1, err
		}
	}
	before, err := lab.Snapshot()
	if err != nil {
		return 1, err
	}
	shared, err = startMesh(ctx, binary)
	if err != nil {
		return 1, err
	}
	code = m.Run()
	if code != 0 {
		shared.keepLogs()
	}
	shared.close()
	err = shared.Down(context.WithoutCancel(ctx))
	leaks, leakErr := before.Leaks(context.WithoutCancel(ctx))
	if len(leaks) > 0 {
		leakErr = errors.Join(leakErr, fmt.Errorf("left behind after the lab was taken down: %v", leaks))
	}
	return code, errors.Join(err, leakErr)
}

// startMesh starts the lab and gives every site the images, so that moves carry only the pod.
func startMesh(ctx context.Context, binary string) (*mesh, error) {
	say := func(line string) { fmt.Println(line) }
	tars := map[string][]string{"redis": {"redis-server"}, "nginx": workload.NginxPackages()}
	images := map[string]string{}
	for name, packages := range tars {
		path, err := workload.Image(ctx, say, packages...)
		if err != nil {
			return nil, err
		}
		images[name] = path
	}
	l, err := lab.Up(ctx, lab.Options{Name: labName, Executable: binary, Conditions: normal, Hosts: apart()}, func(string) {})
	if err != nil {
		return nil, err
	}
	m := &mesh{Lab: l, binary: binary, images: images, clients: map[string]*api.Client{}}
	for _, site := range l.Sites() {
		socket, err := l.Socket(site.Name)
		if err != nil {
			return nil, errors.Join(err, l.Down(ctx))
		}
		m.clients[site.Name] = api.NewClient(socket)
		if err := m.load(ctx, site.Name, "redis", images["redis"]); err != nil {
			return nil, errors.Join(err, l.Down(ctx))
		}
	}
	return m, nil
}

// The names of the labs of these tests.
const (
	labName  = "hosttest"
	demoName = "hostdemo"
	joinName = "hostjoin"
)

// normal is the network between the sites, as in the demonstration.
var normal = wan.Conditions{Rate: 200e6, Delay: 25 * time.Millisecond}
