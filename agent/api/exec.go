package api

import (
	"context"
	"errors"
	"io"
	"sync"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type containersHandler struct{ *handler }

type execStream = connect.BidiStream[droverv1.ExecRequest, droverv1.ExecResponse]

func (h containersHandler) Exec(ctx context.Context, stream *execStream) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start.GetPod() == "" || len(start.GetCommand()) == 0 {
		return Errorf(InvalidArgument, "running a command", "the request names no pod or no command")
	}
	at, err := h.atOwner(ctx, start.GetPod())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sizes := make(chan Size, 1)
	in, input := io.Pipe()
	var sending sync.Mutex
	send := func(msg *droverv1.ExecResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(msg)
	}
	e := Exec{
		Pod: start.GetPod(), Container: start.GetContainer(), Command: start.GetCommand(), TTY: start.GetTty(),
		Stdout: chunkWriter(func(p []byte) error {
			return send(&droverv1.ExecResponse{Part: &droverv1.ExecResponse_Output{Output: p}})
		}),
		Stderr: chunkWriter(func(p []byte) error {
			return send(&droverv1.ExecResponse{Part: &droverv1.ExecResponse_Errors{Errors: p}})
		}),
	}
	if start.GetStdin() {
		e.Stdin = in
	}
	if start.GetTty() {
		e.Sizes = sizes
		if start.GetSize() != nil {
			sizes <- sizeFromProto(start.GetSize())
		}
	}
	go func() { // ends with the stream, which the server ends when this handler returns
		input.CloseWithError(receiveInput(stream, input, sizes, cancel))
	}()
	code, err := at.Exec(ctx, e)
	in.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return err
	}
	return send(&droverv1.ExecResponse{Part: &droverv1.ExecResponse_Ended{Ended: &droverv1.ExecEnded{ExitCode: int32(code)}}})
}

// receiveInput passes on what the caller sends, until it sends no more. A caller that goes away cancels the command.
func receiveInput(stream *execStream, input *io.PipeWriter, sizes chan Size, cancel func()) error {
	for {
		msg, err := stream.Receive()
		if errors.Is(err, io.EOF) { // it still listens
			return io.EOF
		}
		if err != nil {
			cancel()
			return err
		}
		switch part := msg.GetPart().(type) {
		case *droverv1.ExecRequest_Input:
			if len(part.Input) == 0 {
				input.CloseWithError(io.EOF)
			} else if _, err := input.Write(part.Input); err != nil {
				continue // the command has closed its input, and may go on all the same
			}
		case *droverv1.ExecRequest_Size:
			latest(sizes, sizeFromProto(part.Size))
		}
	}
}

// latest puts a size where the next reader finds it, in the place of one that nobody has read.
func latest(sizes chan Size, s Size) {
	select {
	case <-sizes:
	default:
	}
	select {
	case sizes <- s:
	default:
	}
}

func sizeFromProto(s *droverv1.TerminalSize) Size {
	return Size{Rows: int(s.GetRows()), Columns: int(s.GetColumns())}
}

func sizeToProto(s Size) *droverv1.TerminalSize {
	return &droverv1.TerminalSize{Rows: uint32(s.Rows), Columns: uint32(s.Columns)}
}

// Exec runs a command in a container. The caller's Stdin may still be read when it returns.
func (c *Client) Exec(ctx context.Context, e Exec) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.containers.Exec(ctx)
	if err != nil {
		return 0, c.wrap(err)
	}
	var sending sync.Mutex
	send := func(msg *droverv1.ExecRequest) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(msg)
	}
	// That sending fails is told by what is received: the other end's reason.
	_ = send(&droverv1.ExecRequest{Part: &droverv1.ExecRequest_Start{Start: &droverv1.ExecStart{
		Pod: e.Pod, Container: e.Container, Command: e.Command, Tty: e.TTY, Stdin: e.Stdin != nil,
	}}})
	if e.Stdin != nil {
		go func() {
			_, _ = io.Copy(chunkWriter(func(p []byte) error {
				return send(&droverv1.ExecRequest{Part: &droverv1.ExecRequest_Input{Input: p}})
			}), e.Stdin)
			_ = send(&droverv1.ExecRequest{Part: &droverv1.ExecRequest_Input{}})
		}()
	}
	go func() {
		for {
			select {
			case s := <-e.Sizes:
				_ = send(&droverv1.ExecRequest{Part: &droverv1.ExecRequest_Size{Size: sizeToProto(s)}})
			case <-ctx.Done():
				return
			}
		}
	}()
	return c.answers(stream, e)
}

// answers passes on what a command writes, until its end.
func (c *Client) answers(stream *connect.BidiStreamForClientSimple[droverv1.ExecRequest, droverv1.ExecResponse], e Exec) (int, error) {
	for {
		msg, err := stream.Receive()
		if err != nil {
			return 0, c.wrap(err)
		}
		switch part := msg.GetPart().(type) {
		case *droverv1.ExecResponse_Output:
			_, err = e.Stdout.Write(part.Output)
		case *droverv1.ExecResponse_Errors:
			_, err = e.Stderr.Write(part.Errors)
		case *droverv1.ExecResponse_Ended:
			return int(part.Ended.GetExitCode()), nil
		}
		if err != nil {
			return 0, AsError(err)
		}
	}
}
