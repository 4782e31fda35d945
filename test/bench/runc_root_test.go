//go:build root

package bench

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
)

// Where a site has what the scripted move needs. /run is each site's own.
const (
	runcRoot  = "/run/bench-runc"
	runcImage = "/run/bench-images"
	runcPort  = "6390"
)

// theirMove is the same Redis under plain runc, in the network of its host.
type theirMove struct {
	lab     *lab.Lab
	bundles map[string]string // by site
	at, to  string
}

func deployTheirs(ctx context.Context, b *testing.B, l *lab.Lab, image string) *theirMove {
	m := &theirMove{lab: l, bundles: map[string]string{}, at: "ams", to: "fra"}
	for _, site := range []string{m.at, m.to} {
		bundle := b.TempDir()
		m.bundles[site] = bundle
		rootfs := filepath.Join(bundle, "rootfs")
		require.NoError(b, os.Mkdir(rootfs, 0o755))
		out, err := exec.CommandContext(ctx, "tar", "-C", rootfs, "-xf", image).CombinedOutput()
		require.NoError(b, err, string(out))
		config, err := json.Marshal(plainSpec())
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600))
	}
	m.runc(ctx, b, m.at, "run", "--detach", "--bundle", m.bundles[m.at], "bench")
	counter := m.connect(ctx, b, m.at)
	require.NoError(b, counter.Fill(ctx, fill))
	require.NoError(b, counter.Close())
	return m
}

func plainSpec() specs.Spec {
	return specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: []string{"redis-server", "--port", runcPort, "--bind", "127.0.0.1", "--protected-mode", "no", "--save", "", "--dir", "/tmp"},
			Env:  []string{"PATH=/usr/bin:/bin"}, Cwd: "/", NoNewPrivileges: true,
		},
		Root: &specs.Root{Path: "rootfs"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/bench",
			Namespaces:  []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
		},
	}
}

// runc runs runc in a site. The streams are pipes, as CRIU wants them.
func (m *theirMove) runc(ctx context.Context, b *testing.B, site string, args ...string) {
	cmd := m.lab.Exec(ctx, site, append([]string{"runc", "--root", runcRoot}, args...)...)
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	b.Cleanup(func() { _ = stdin.Close() })
	read, write, err := os.Pipe()
	require.NoError(b, err)
	b.Cleanup(func() { _ = read.Close() })
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(b, cmd.Start())
	require.NoError(b, write.Close())
	if err := cmd.Wait(); err != nil {
		_ = read.SetReadDeadline(time.Now().Add(time.Second))
		said, _ := io.ReadAll(read)
		require.NoError(b, err, "runc %v in %s: %s", args, site, said)
	}
}

func (m *theirMove) connect(ctx context.Context, b *testing.B, site string) *workload.Counter {
	c, err := workload.NewCounter(ctx, m.lab.Dialer(site), "127.0.0.1:"+runcPort)
	require.NoError(b, err)
	return c
}

// move returns how long the Redis stood still on its way to the other site.
func (m *theirMove) move(ctx context.Context, b *testing.B) time.Duration {
	begun := time.Now()
	m.runc(ctx, b, m.at, "checkpoint", "--image-path", runcImage, "--work-path", runcRoot, "bench")
	m.copyImages(ctx, b)
	m.runc(ctx, b, m.to, "restore", "--detach", "--image-path", runcImage, "--work-path", runcRoot,
		"--bundle", m.bundles[m.to], "bench")
	counter := m.connect(ctx, b, m.to) // it serves
	took := time.Since(begun)
	require.NoError(b, counter.Close())
	m.at, m.to = m.to, m.at
	return took
}

// copyImages sends the images as a tar over one TCP connection through the WAN, and removes them at their source.
func (m *theirMove) copyImages(ctx context.Context, b *testing.B) {
	from, err := m.lab.Path(m.at, runcImage)
	require.NoError(b, err)
	to, err := m.lab.Path(m.to, runcImage)
	require.NoError(b, err)
	site, err := m.lab.Site(m.to)
	require.NoError(b, err)
	var l net.Listener
	require.NoError(b, m.lab.InNetwork(m.to, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(site.Address.String(), "0"))
		return err
	}))
	defer l.Close()
	conn, err := m.lab.Dialer(m.at)(ctx, "tcp", l.Addr().String())
	require.NoError(b, err)
	sent := make(chan error, 1)
	go func() {
		defer conn.Close()
		w := tar.NewWriter(conn)
		err := w.AddFS(os.DirFS(from))
		if err == nil {
			err = w.Close()
		}
		sent <- err
	}()
	accepted, err := l.Accept()
	require.NoError(b, err)
	defer accepted.Close()
	require.NoError(b, os.MkdirAll(to, 0o700))
	unpack(b, to, accepted)
	require.NoError(b, <-sent)
	require.NoError(b, os.RemoveAll(from))
}

func unpack(b *testing.B, dir string, r io.Reader) {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(b, err)
		if header.Typeflag != tar.TypeReg {
			continue
		}
		f, err := os.Create(filepath.Join(dir, filepath.Base(header.Name)))
		require.NoError(b, err)
		_, err = io.Copy(f, archive)
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
}
