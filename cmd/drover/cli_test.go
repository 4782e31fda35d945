package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

// updateGolden makes the golden files anew: go test ./cmd/drover -update.
var updateGolden = flag.Bool("update", false, "write the golden files")

// call is one call of drover in a test, with what it wrote.
type call struct {
	cli
	stdout, stderr bytes.Buffer
}

// drover runs a command against the agent at socket. edit may change streams and signals.
func drover(t *testing.T, socket string, args []string, edit ...func(*cli)) (c *call, code int) {
	t.Helper()
	c = &call{}
	c.cli = cli{
		in: strings.NewReader(""), out: &c.stdout, err: &c.stderr,
		now:    func() time.Time { return apitest.Created.Add(3 * time.Hour) },
		notify: func(chan<- os.Signal) func() { return func() {} },
	}
	for _, e := range edit {
		e(&c.cli)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c, c.run(ctx, append([]string{"--socket", socket}, args...))
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *updateGolden {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run go test ./cmd/drover -update")
	assert.Equal(t, string(want), got, file)
}

// fake is the backend of the node ams in a mesh of three.
func fake() *apitest.Backend {
	report := aReport()
	redis := api.Pod{
		Name: "redis", UID: "0b5e", Address: "10.88.0.2", Node: "ams", Site: "amsterdam",
		Epoch: 3, Phase: api.PodRunning, Created: apitest.Created, Manifest: []byte(`{"kind":"Pod"}`), Failover: "restart",
		Origin: &api.Origin{Epoch: 3, From: "nyc", Kind: "image", At: apitest.Created.Add(time.Hour),
			Reason: "node nyc is lost: it has not renewed its lease", Lost: "all that it had in memory and in its files"},
		Containers: []api.Container{{Name: "main", Image: "redis:7", Layers: []string{"sha256:0123456789abcdef"}, State: "Running", PID: 4711, Ready: true}},
	}
	job := api.Pod{
		Name: "job", UID: "0b5f", Address: "10.88.0.3", Node: "ams", Site: "amsterdam", Epoch: 1,
		Phase: api.PodFailed, Reason: "container work ended with code 137", Created: apitest.Created.Add(2*time.Hour + 59*time.Minute), Manifest: []byte(`{}`),
		Containers: []api.Container{
			{Name: "prepare", Init: true, Image: "job:1", State: "Exited"},
			{Name: "work", Image: "job:1", State: "Exited", ExitCode: 137, Restarts: 2},
		},
	}
	return &apitest.Backend{
		Node: "ams",
		Pods: []api.Pod{job, redis},
		Nodes: []api.Node{
			{
				Name: "ams", Site: "amsterdam", Address: "10.77.1.1:7400", Gossip: "10.77.1.1:7946", State: api.NodeAlive, Role: "voter", Version: "v1", Arch: "amd64", Pods: 2,
				Kernel: "6.12.0", CRIU: "4.2.1", Capacity: api.Resources{CPUMilli: 4000, MemoryBytes: 8 << 30}, Requested: api.Resources{CPUMilli: 1250, MemoryBytes: 1 << 30},
				Labels: map[string]string{"disk": "ssd", "drover.dev/site": "amsterdam"},
			},
			{
				Name: "fra", Site: "frankfurt", Address: "10.77.2.1:7400", Gossip: "10.77.2.1:7946", State: api.NodeAlive, Role: "leader", Version: "v1", Arch: "amd64", RTTms: 50.31,
				Cordoned: true, Capacity: api.Resources{CPUMilli: 2000, MemoryBytes: 4 << 30},
			},
			{Name: "nyc", Site: "new-york", State: api.NodeDead, Role: "voter"},
		},
		Images: []api.Image{
			{
				Name: "redis:7", Digest: "sha256:0123456789abcdef", Manifest: "sha256:fedcba9876543210", Layers: []string{"sha256:00112233", "sha256:44556677"},
				Platform: "linux/amd64", Size: 42_000_000, Created: apitest.Created, Tagged: apitest.Created.Add(time.Hour), Node: "ams",
				Document: []byte(`{"os":"linux","config":{"Cmd":["redis-server"]}}`),
			},
			{
				Name: "localhost:5000/team/app@sha256:5555", Digest: "sha256:89abcdef01234567", Manifest: "sha256:5555", Layers: []string{"sha256:00112233"},
				Platform: "linux/amd64", Size: 900, Created: apitest.Created.Add(-time.Hour), Tagged: apitest.Created, Node: "ams",
			},
		},
		Migrations: []api.Migration{
			{ID: "m1", Pod: "redis", From: "fra", To: "ams", Epoch: 3, Phase: api.MigrationDone},
			{ID: "m2", Pod: "redis", From: "ams", To: "nyc", Epoch: 4, Phase: api.MigrationAborted, Reason: "restore on nyc: no memory"},
			{ID: "m3", Pod: "redis", From: "ams", To: "fra", Epoch: 4, Phase: api.MigrationReserved, Step: "presync"},
			{ID: "m4", Pod: "redis", From: "ams", To: "fra", Epoch: 4, Phase: api.MigrationDone, Report: &report},
		},
		Tokens: []api.Token{
			{ID: "aaaa2222", Uses: 2, UsesLeft: 1, Created: apitest.Created, Expires: apitest.Created.Add(24 * time.Hour), State: api.TokenUsable, UsedBy: []string{"sin"}},
			{ID: "k3v7qd2a", Server: true, Node: "fra", Uses: 1, UsesLeft: 1, Created: apitest.Created, Expires: apitest.Created.Add(time.Hour),
				State: api.TokenRevoked, Reason: "by an operator at ams"},
		},
		Status: api.Status{
			Node: "ams", Site: "amsterdam", Version: "v1", Started: apitest.Created, PodCIDR: "10.88.0.0/16", Leader: "fra", Role: "follower",
			Servers: []string{"ams", "fra", "nyc"}, AppliedIndex: 42, NodesAlive: 2, NodesKnown: 3, PodsHere: 2, PodsTotal: 2,
			Migrations: []api.Migration{{ID: "m3", Pod: "redis", From: "ams", To: "fra", Phase: api.MigrationReserved, Step: "presync"}},
			Problems:   []string{"nyc does not answer"},
		},
		OnRun: func(manifest []byte, node string) (api.Pod, error) {
			if string(manifest) != "kind: Pod" || node != "ams" {
				return api.Pod{}, fmt.Errorf("got %q for %q", manifest, node)
			}
			return redis, nil
		},
		OnLogs: func(_ context.Context, o api.LogOptions, w api.LogWriter) error {
			return w.Lines(fmt.Appendf(nil, "hello\nfollow %v\nno end", o.Follow), apitest.Created)
		},
		OnMigrate: aMove,
		OnCancel: func(name string) (api.Migration, error) {
			return api.Migration{ID: name, Pod: "redis", To: "fra", Phase: api.MigrationAborted}, nil
		},
	}
}

func aReport() api.Report {
	return api.Report{
		ID: "m4", Pod: "redis", From: "ams", To: "fra", Mode: "stop-copy", DowntimeMS: 842.4, TotalMS: 1603.2, BytesSent: 17_091_789, FrozenBytes: 16_986_931,
		Steps: []api.Step{{Name: "preflight", MS: 51.2}, {Name: "freeze", MS: 3}, {Name: "release", MS: 0.42}},
	}
}

func aMove(_ context.Context, pod, _ string, p api.Progress) (api.Report, error) {
	p.Started(api.Move{ID: "m4", Pod: pod, From: "ams", To: "fra", Mode: "stop-copy"})
	for _, e := range []api.Event{
		{Step: "preflight", Node: "fra", State: api.StepStarted},
		{Step: "preflight", Node: "fra", State: api.StepDone, MS: 51.2, Note: "fra can take it: CRIU 4.2.1, 10.88.0.2 free"},
		{Step: "freeze", Node: "ams", State: api.StepDone, MS: 3},
		{Step: "final", Node: "ams", State: api.StepStarted},
		{Step: "final", Node: "ams", State: api.StepProgress, BytesDone: 8 << 20, BytesTotal: 16_986_931},
		{Step: "final", Node: "ams", State: api.StepDone, MS: 720.1, BytesDone: 16_986_931},
		{Step: "release", Node: "fra", State: api.StepDone, MS: 0.42},
	} {
		p.Event(e)
	}
	return aReport(), nil
}

func TestOutput(t *testing.T) {
	socket := apitest.Serve(t, fake(), nil)
	tar := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(tar, make([]byte, 5000), 0o600))
	for name, args := range map[string][]string{
		"pod-run":          {"pod", "run", "-f", "-"},
		"pod-ls":           {"pod", "ls"},
		"pod-get":          {"pod", "get", "redis"},
		"pod-get-failed":   {"pod", "get", "job"},
		"pod-logs":         {"pod", "logs", "job", "-f"},
		"pod-rm":           {"pod", "rm", "redis"},
		"image-load":       {"image", "load", "redis:7", tar},
		"image-ls":         {"image", "ls"},
		"image-inspect":    {"image", "inspect", "redis:7"},
		"image-tag":        {"image", "tag", "redis:7", "example.org/redis:prod"},
		"image-rm":         {"image", "rm", "redis:7"},
		"image-pull":       {"image", "pull", "redis:7"},
		"node-ls":          {"node", "ls"},
		"status":           {"status"},
		"migrate":          {"migrate", "redis", "--to", "fra"},
		"migration-ls":     {"migration", "ls"},
		"migration-get":    {"migration", "get", "m4"},
		"migration-cancel": {"migration", "cancel", "m3"},
		"token-create":     {"mesh", "token", "create", "--server", "--node", "fra", "--expires", "10m"},
		"token-ls":         {"mesh", "token", "ls"},
		"token-revoke":     {"mesh", "token", "revoke", "k3v7qd2a"},
	} {
		formats := []string{"table", "json"}
		if strings.HasSuffix(name, "-ls") {
			formats = append(formats, "wide")
		}
		for _, format := range formats {
			t.Run(name+"/"+format, func(t *testing.T) {
				c, code := drover(t, socket, append(args, "--output", format), func(c *cli) { c.in = strings.NewReader("kind: Pod") })
				require.Equal(t, exitOK, code, &c.stderr)
				assert.Empty(t, c.stderr.String())
				golden(t, name+"."+format, c.stdout.String())
			})
		}
	}
}

func TestEmptyLists(t *testing.T) {
	socket := apitest.Serve(t, &apitest.Backend{Node: "ams"}, nil)
	for _, what := range []string{"pod", "image", "node", "migration", "mesh token"} {
		words := strings.Fields(what)
		c, code := drover(t, socket, append(words, "ls", "-o", "json"))
		require.Equal(t, exitOK, code)
		assert.JSONEq(t, fmt.Sprintf(`{"%ss":[]}`, words[len(words)-1]), c.stdout.String())
	}
	c, code := drover(t, socket, []string{"status", "-o", "json"})
	require.Equal(t, exitOK, code)
	assert.NotContains(t, c.stdout.String(), "null")
}

func TestFailures(t *testing.T) {
	b := fake()
	socket := apitest.Serve(t, b, nil)
	for name, f := range map[string]struct {
		err  error
		code int
	}{
		"invalid": {&api.Error{
			Code: api.InvalidArgument, What: "creating redis", Why: "the manifest can't be accepted", Cure: "remove the fields",
			Violations: []api.Violation{{Field: "spec.containers[0].livenessProbe", Why: "not supported yet"}, {Field: "spec.foo", Why: "unknown field"}},
		}, 2},
		"not-found":    {api.Errorf(api.NotFound, "looking for pod x", "the mesh has no such pod").WithCure("see drover pod ls"), 3},
		"unavailable":  {api.Errorf(api.Unavailable, "asking the quorum", "no leader"), 4},
		"aborted":      {api.Errorf(api.Aborted, "moving redis to fra", "step restore failed on fra: no memory").WithCure("redis runs on ams as before\nfree some memory on fra"), 5},
		"canceled":     {api.Errorf(api.Canceled, "moving redis to fra", "it was cancelled before anything had changed"), 5},
		"precondition": {api.Errorf(api.FailedPrecondition, "moving redis", "it is on fra already"), 6},
		"exists":       {api.Errorf(api.AlreadyExists, "creating redis", "a pod of that name exists"), 6},
		"internal":     {errors.New("bug"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			b.Err = f.err
			c, code := drover(t, socket, []string{"pod", "rm", "redis"})
			assert.Equal(t, f.code, code)
			assert.Empty(t, c.stdout.String())
			golden(t, "failure-"+name+".table", c.stderr.String())

			c, code = drover(t, socket, []string{"pod", "rm", "redis", "-o", "json"})
			assert.Equal(t, f.code, code)
			assert.Empty(t, c.stdout.String())
			golden(t, "failure-"+name+".json", c.stderr.String())

			c, code = drover(t, socket, []string{"pod", "rm", "redis", "-o", "yaml"})
			assert.Equal(t, f.code, code)
			assert.Empty(t, c.stdout.String())
			told, err := yaml.YAMLToJSON(c.stderr.Bytes())
			require.NoError(t, err)
			want, err := os.ReadFile(filepath.Join("testdata", "failure-"+name+".json.golden"))
			require.NoError(t, err)
			assert.JSONEq(t, string(want), string(told))
		})
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"foo"}, {"pod", "foo"}, {"--foo"}, {"pod", "ls", "x"}, {"pod", "get"}, {"pod", "run"}, {"pod", "ls", "-o", "xml"}, {"migrate", "redis"},
		{"migrate", "--to", "fra"}, {"mesh", "init", "a", "b"}, {"mesh", "init", "--dir", "x"}, {"mesh", "init", "A B", "--nodes", "ams", "--dir", "/dev/null/x"},
		{"image", "load"}, {"image", "load", "x", "y", "z"}, {"image", "load", t.TempDir()}, {"image", "load", "x"}, {"image", "rm"}, {"image", "tag", "x"},
		{"image", "pull", "UPPER"}, {"image", "pull", "x", "--authfile", "/no/such/file"},
		{"pod", "run", "-f", "/no/such/file"}, {"image", "load", "x", "/no/such/file"},
	} {
		c, code := drover(t, "/no/such/socket", args)
		assert.Equal(t, exitUsage, code, args)
		assert.Empty(t, c.stdout.String(), args)
		assert.True(t, strings.HasPrefix(c.stderr.String(), "drover: "), "%v: %s", args, &c.stderr)
	}
	c, code := drover(t, "", []string{"pod", "run", "-f", "-"}, func(c *cli) { c.in = io.LimitReader(zeros{}, maxManifest+1) })
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, c.stderr.String(), "larger than 1.0 MiB")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestNoAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	c, code := drover(t, socket, []string{"status"})
	assert.Equal(t, exitUnavailable, code)
	assert.Equal(t, "drover: asking the agent at "+socket+": no agent listens there\n"+
		"  start it with systemctl start drover-agent, or name its socket with --socket\n", c.stderr.String())
}

func TestHelpIsNoFailure(t *testing.T) {
	for _, args := range [][]string{{}, {"pod"}, {"--help"}, {"migrate", "--help"}, {"version"}} {
		c, code := drover(t, "", args)
		assert.Equal(t, exitOK, code, args)
		assert.NotEmpty(t, c.stdout.String(), args)
	}
}

func TestWrongUsageTellsTheRight(t *testing.T) {
	c, code := drover(t, "", []string{"migrate", "--to", "fra"})
	require.Equal(t, exitUsage, code)
	assert.Equal(t, "drover: accepts 1 arg(s), received 0\n  usage: drover migrate POD --to SITE|NODE [flags]\n  see drover migrate --help\n", c.stderr.String())
}
