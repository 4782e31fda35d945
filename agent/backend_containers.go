package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/state"
)

// container finds a pod of this node and one of its containers, "" meaning the first that isn't an init container.
func (b *backend) container(ctx context.Context, what, name, container string) (state.Pod, string, error) {
	p, err := b.pod(ctx, name)
	if err != nil {
		return p, "", err
	}
	var names []string
	for _, c := range p.Containers {
		if c.Name == container || container == "" && !c.Init {
			return p, c.Name, nil
		}
		names = append(names, c.Name)
	}
	return p, "", api.Errorf(api.NotFound, what, "pod %s has no container %s", name, container).
		WithCure("it has " + strings.Join(names, ", ") + ": choose one with --container")
}

// PodLogs implements [api.Pods].
func (b *backend) PodLogs(ctx context.Context, name string, o api.LogOptions, w api.LogWriter) error {
	p, container, err := b.container(ctx, "reading the log of pod "+name, name, o.Container)
	if err != nil {
		return err
	}
	options := pod.LogOptions{Follow: o.Follow, Since: o.Since, Tail: o.Tail, Timestamps: o.Timestamps}
	return b.pods.runtime.Logs(ctx, p.UID, container, options, w.Lines)
}

// Exec implements [api.Containers].
func (b *backend) Exec(ctx context.Context, e api.Exec) (int, error) {
	what := fmt.Sprintf("running %s in pod %s", e.Command[0], e.Pod)
	p, container, err := b.container(ctx, what, e.Pod, e.Container)
	if err != nil {
		return 0, err
	}
	// CRIU can't take along what was started from outside: once a move has begun nothing more is.
	if p.Migration != "" || b.pods.isBusy(p.UID) {
		return 0, api.Errorf(api.FailedPrecondition, what, "it is being started, moved or removed").WithCure("try again when that has ended")
	}
	x := pod.Exec{Command: e.Command, TTY: e.TTY, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr}
	if e.Sizes != nil {
		sizes := make(chan pod.Size)
		x.Sizes = sizes
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		go func() {
			for {
				select {
				case s := <-e.Sizes:
					select {
					case sizes <- pod.Size{Rows: s.Rows, Columns: s.Columns}:
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	code, err := b.pods.runtime.Exec(ctx, p.UID, container, x)
	if err != nil && ctx.Err() == nil {
		return 0, api.Errorf(api.FailedPrecondition, what, "%w", err)
	}
	return code, err
}

// CopyFrom implements [api.Containers].
func (b *backend) CopyFrom(ctx context.Context, at api.Path, tar io.Writer) error {
	what := fmt.Sprintf("copying %s from pod %s", at.Path, at.Pod)
	p, container, err := b.container(ctx, what, at.Pod, at.Container)
	if err != nil {
		return err
	}
	return copyError(what, b.pods.runtime.CopyFrom(ctx, p.UID, container, at.Path, tar))
}

// CopyTo implements [api.Containers].
func (b *backend) CopyTo(ctx context.Context, at api.Path, tar io.Reader) error {
	what := fmt.Sprintf("copying into %s of pod %s", at.Path, at.Pod)
	p, container, err := b.container(ctx, what, at.Pod, at.Container)
	if err != nil {
		return err
	}
	return copyError(what, b.pods.runtime.CopyTo(ctx, p.UID, container, at.Path, tar))
}

func copyError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist):
		return api.Errorf(api.NotFound, what, "%w", err)
	case errors.Is(err, pod.ErrNotRunning), errors.Is(err, unix.ENOTDIR):
		return api.Errorf(api.FailedPrecondition, what, "%w", err)
	}
	return err
}

// StopPod implements [api.Pods].
func (b *backend) StopPod(ctx context.Context, name string, grace time.Duration) error {
	p, err := b.pod(ctx, name)
	if err != nil {
		return err
	}
	return b.pods.stop(ctx, p, grace)
}

// StartPod implements [api.Pods].
func (b *backend) StartPod(ctx context.Context, name string) error {
	p, err := b.pod(ctx, name)
	if err != nil {
		return err
	}
	return b.pods.startStopped(ctx, p)
}

// ListVolumes implements [api.Volumes].
func (b *backend) ListVolumes(ctx context.Context) ([]api.Volume, error) {
	v, err := b.view(ctx, "listing volumes")
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, p := range v.Pods() {
		names[p.UID] = p.Name
	}
	out := []api.Volume{}
	for _, x := range v.Volumes() {
		out = append(out, api.Volume{Name: x.Name, Node: x.Node, Pod: names[x.Pod]})
	}
	return out, nil
}

// RemoveVolume implements [api.Volumes].
func (b *backend) RemoveVolume(ctx context.Context, name string) error {
	what := "removing volume " + name
	r, err := b.pods.ask(ctx, what, state.DeleteVolume{Name: name, Node: b.config.Node})
	if err != nil {
		return err
	}
	if !r.OK {
		return api.Errorf(api.FailedPrecondition, what, "%s", r.Reason)
	}
	return os.RemoveAll(filepath.Join(b.pods.stateDir, namedVolumes, name))
}
