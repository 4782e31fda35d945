package api

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

func pathFromProto(p *droverv1.CopyFromRequest) Path {
	return Path{Pod: p.GetPod(), Container: p.GetContainer(), Path: p.GetPath()}
}

func pathToProto(p Path) *droverv1.CopyFromRequest {
	return &droverv1.CopyFromRequest{Pod: p.Pod, Container: p.Container, Path: p.Path}
}

func (h containersHandler) CopyFrom(ctx context.Context, req *droverv1.CopyFromRequest, stream *connect.ServerStream[droverv1.CopyFromResponse]) error {
	at, err := h.atOwner(ctx, req.GetPod())
	if err != nil {
		return err
	}
	return at.CopyFrom(ctx, pathFromProto(req), chunkWriter(func(p []byte) error { return stream.Send(&droverv1.CopyFromResponse{Data: p}) }))
}

func (h containersHandler) CopyTo(ctx context.Context, stream *connect.ClientStream[droverv1.CopyToRequest]) (*droverv1.CopyToResponse, error) {
	if !stream.Receive() {
		return nil, errors.Join(stream.Err(), Errorf(InvalidArgument, "copying to a pod", "the stream doesn't say where to"))
	}
	to := pathFromProto(stream.Msg().GetTo())
	at, err := h.atOwner(ctx, to.Pod)
	if err != nil {
		return nil, err
	}
	tar := &messageReader{next: func() ([]byte, error) {
		if stream.Receive() {
			return stream.Msg().GetData(), nil
		}
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}}
	if err := at.CopyTo(ctx, to, tar); err != nil {
		return nil, err
	}
	return &droverv1.CopyToResponse{}, nil
}

// CopyFrom writes a tar of a container's file or directory.
func (c *Client) CopyFrom(ctx context.Context, at Path, tar io.Writer) error {
	stream, err := c.containers.CopyFrom(ctx, pathToProto(at))
	if err != nil {
		return c.wrap(err)
	}
	defer func() { _ = stream.Close() }() // its error would only repeat the first
	for stream.Receive() {
		if _, err := tar.Write(stream.Msg().GetData()); err != nil {
			return AsError(err)
		}
	}
	return c.wrap(stream.Err())
}

// CopyTo unpacks a tar in a container's directory.
func (c *Client) CopyTo(ctx context.Context, at Path, tar io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.containers.CopyTo(ctx)
	if err != nil {
		return c.wrap(err)
	}
	err = stream.Send(&droverv1.CopyToRequest{Part: &droverv1.CopyToRequest_To{To: pathToProto(at)}})
	if err == nil {
		_, err = io.Copy(chunkWriter(func(p []byte) error {
			return stream.Send(&droverv1.CopyToRequest{Part: &droverv1.CopyToRequest_Data{Data: p}})
		}), tar)
	}
	if err != nil && !errors.Is(err, io.EOF) { // reading the tar failed; io.EOF stands for the answer that is there already
		return AsError(err)
	}
	_, err = stream.CloseAndReceive()
	return c.wrap(err)
}

// chunkWriter sends what is written to it, in chunks that fit a message.
type chunkWriter func([]byte) error

func (send chunkWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+chunkSize, len(p))]
		if err := send(part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// messageReader reads what messages bring. next returns io.EOF only if the sender ended the stream in order.
type messageReader struct {
	next func() ([]byte, error)
	rest []byte
}

func (r *messageReader) Read(p []byte) (n int, err error) {
	for len(r.rest) == 0 {
		if r.rest, err = r.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
