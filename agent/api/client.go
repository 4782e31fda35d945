package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
	"github.com/drover-mesh/drover/agent/api/v1/droverv1connect"
)

// Client asks an agent. All its errors are of type *Error.
type Client struct {
	target     target
	http       *http.Client
	pods       droverv1connect.PodsClient
	images     droverv1connect.ImagesClient
	mesh       droverv1connect.MeshClient
	nodes      droverv1connect.NodesClient
	migrations droverv1connect.MigrationsClient
	containers droverv1connect.ContainersClient
	volumes    droverv1connect.VolumesClient
	enrolment  droverv1connect.EnrolmentClient
}

var _ API = (*Client)(nil)

// target is whom a client asks, for its errors.
type target struct{ name, cure string }

func peerTarget(node string) target {
	return target{name: "node " + node, cure: "drover node ls shows which nodes are alive"}
}

// NewClient returns a client of the agent that listens on a unix socket. It connects with the first request.
func NewClient(socket string) *Client {
	transport := &http.Transport{
		Protocols: cleartextHTTP2(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	return newClient(&http.Client{Transport: transport}, "http://agent",
		target{name: "the agent at " + socket, cure: "start it with systemctl start drover-agent, or name its socket with --socket"})
}

func newClient(client *http.Client, url string, t target, options ...connect.ClientOption) *Client {
	options = append(options, connect.WithReadMaxBytes(maxMessage))
	return &Client{
		target:     t,
		http:       client,
		pods:       droverv1connect.NewPodsClient(client, url, options...),
		images:     droverv1connect.NewImagesClient(client, url, options...),
		mesh:       droverv1connect.NewMeshClient(client, url, options...),
		nodes:      droverv1connect.NewNodesClient(client, url, options...),
		migrations: droverv1connect.NewMigrationsClient(client, url, options...),
		containers: droverv1connect.NewContainersClient(client, url, options...),
		volumes:    droverv1connect.NewVolumesClient(client, url, options...),
		enrolment:  droverv1connect.NewEnrolmentClient(client, url, options...),
	}
}

// Close closes the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// RunPod creates a pod and returns it when it runs.
func (c *Client) RunPod(ctx context.Context, manifest []byte, node string) (Pod, error) {
	resp, err := c.pods.Run(ctx, &droverv1.RunRequest{Manifest: manifest, Node: node})
	return podFromProto(resp.GetPod()), c.wrap(err)
}

// ListPods returns all pods, or those of the asked node only.
func (c *Client) ListPods(ctx context.Context, local bool) ([]Pod, error) {
	resp, err := c.pods.List(ctx, &droverv1.ListPodsRequest{Local: local})
	return each(resp.GetPods(), podFromProto), c.wrap(err)
}

// GetPod returns a pod with its manifest.
func (c *Client) GetPod(ctx context.Context, name string) (Pod, error) {
	resp, err := c.pods.Get(ctx, &droverv1.GetPodRequest{Name: name})
	return podFromProto(resp.GetPod()), c.wrap(err)
}

// StopPod ends a pod's processes and keeps everything else.
func (c *Client) StopPod(ctx context.Context, name string, grace time.Duration) error {
	seconds := int32(-1)
	if grace >= 0 {
		seconds = int32((grace + time.Second - 1) / time.Second)
	}
	_, err := c.pods.Stop(ctx, &droverv1.StopPodRequest{Name: name, GraceSeconds: seconds})
	return c.wrap(err)
}

// StartPod starts a stopped pod.
func (c *Client) StartPod(ctx context.Context, name string) error {
	_, err := c.pods.Start(ctx, &droverv1.StartPodRequest{Name: name})
	return c.wrap(err)
}

// RemovePod stops and removes a pod.
func (c *Client) RemovePod(ctx context.Context, name string) error {
	_, err := c.pods.Remove(ctx, &droverv1.RemovePodRequest{Name: name})
	return c.wrap(err)
}

// GetStatus returns the state of the mesh in short.
func (c *Client) GetStatus(ctx context.Context) (Status, error) {
	resp, err := c.mesh.Status(ctx, &droverv1.StatusRequest{})
	return statusFromProto(resp), c.wrap(err)
}

// Migrate moves a pod. When ctx ends it returns at once and the agent cancels the move; to see the move undone, call
// CancelMigration instead and wait for Migrate to return.
func (c *Client) Migrate(ctx context.Context, pod, to string, progress Progress) (Report, error) {
	stream, err := c.migrations.Migrate(ctx, &droverv1.MigrateRequest{Pod: pod, To: to})
	if err != nil {
		return Report{}, c.wrap(err)
	}
	defer func() { _ = stream.Close() }() // its error would only repeat the first
	for stream.Receive() {
		switch part := stream.Msg().GetPart().(type) {
		case *droverv1.MigrateResponse_Started:
			progress.Started(moveFromProto(part.Started))
		case *droverv1.MigrateResponse_Event:
			progress.Event(eventFromProto(part.Event))
		case *droverv1.MigrateResponse_Report:
			return reportFromProto(part.Report), nil
		}
	}
	if err := stream.Err(); err != nil {
		e := AsError(c.wrap(err))
		if cutShort(err) {
			e.Cure = "its next start settles the move; drover pod get " + pod + " shows where the pod runs"
		}
		return Report{}, e
	}
	return Report{}, Errorf(Unavailable, "moving "+pod, "%s ended the stream without a report", c.target.name).
		WithCure("drover pod get " + pod + " shows where it runs")
}

// Preflight tells whether a pod can move to a node or site.
func (c *Client) Preflight(ctx context.Context, pod, to string) (Preflight, error) {
	stream, err := c.migrations.Migrate(ctx, &droverv1.MigrateRequest{Pod: pod, To: to, DryRun: true})
	if err != nil {
		return Preflight{}, c.wrap(err)
	}
	defer func() { _ = stream.Close() }() // its error would only repeat the first
	for stream.Receive() {
		if p := stream.Msg().GetPreflight(); p != nil {
			return preflightFromProto(p), nil
		}
	}
	if err := stream.Err(); err != nil {
		return Preflight{}, c.wrap(err)
	}
	return Preflight{}, Errorf(FailedPrecondition, "looking whether "+pod+" can move", "%s doesn't know how", c.target.name).
		WithCure("run the same version of drover on each node")
}

// CancelMigration gives up an open migration, by its id or its pod.
func (c *Client) CancelMigration(ctx context.Context, name string) (Migration, error) {
	resp, err := c.migrations.Cancel(ctx, &droverv1.CancelRequest{Name: name})
	return migrationFromProto(resp.GetMigration()), c.wrap(err)
}

// ListMigrations returns the open and the last finished migrations.
func (c *Client) ListMigrations(ctx context.Context) ([]Migration, error) {
	resp, err := c.migrations.List(ctx, &droverv1.ListMigrationsRequest{})
	return each(resp.GetMigrations(), migrationFromProto), c.wrap(err)
}

// GetMigration returns a migration, with its report if it is done.
func (c *Client) GetMigration(ctx context.Context, id string) (Migration, error) {
	resp, err := c.migrations.Get(ctx, &droverv1.GetMigrationRequest{Id: id})
	return migrationFromProto(resp.GetMigration()), c.wrap(err)
}

// wrap names the target in errors that are not the target's own. It returns nil for nil.
func (c *Client) wrap(err error) error {
	if err == nil {
		return nil
	}
	e := AsError(err)
	if e.What != "" || e.Cure != "" || e.Code != Unavailable {
		return e
	}
	e.What, e.Cure = "asking "+c.target.name, c.target.cure
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		e.Why = "no agent listens there"
	case errors.Is(err, os.ErrPermission):
		e.Why, e.Cure = "permission denied", "run as root, or as a member of the socket's group"
	}
	return e
}
