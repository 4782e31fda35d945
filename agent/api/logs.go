package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// lookAgain is how long a follower of a log waits before it looks where its pod is now.
const lookAgain = 100 * time.Millisecond

// Logs streams from the pod's owner. A follower goes along when the pod moves: its log moves with it, and is read on from the
// last line that was sent.
func (h podsHandler) Logs(ctx context.Context, req *droverv1.LogsRequest, stream *connect.ServerStream[droverv1.LogsResponse]) error {
	o := LogOptions{
		Container: req.GetContainer(), Follow: req.GetFollow(), Since: timeFromProto(req.GetSince()), Tail: int(req.GetTail()),
		Timestamps: req.GetTimestamps(),
	}
	out := &logSender{stream: stream, last: o.Since}
	pod, err := h.backend.GetPod(ctx, req.GetName())
	if err != nil {
		return err
	}
	for {
		at, err := h.at(ctx, pod.Node)
		if err != nil {
			return err
		}
		err = at.PodLogs(ctx, pod.Name, o, out)
		// A node that was asked by another leaves it to that one to follow.
		if !o.Follow || forwardedBy(ctx) != "" || ctx.Err() != nil {
			return err
		}
		now, over, err := h.afterLog(ctx, pod, err)
		if over || err != nil {
			return err
		}
		pod = now
		o.Since, o.Tail = out.last, 0
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAgain):
		}
	}
}

// afterLog says where a pod is whose owner has come to the end of its log, with that error, and whether that is all.
func (h podsHandler) afterLog(ctx context.Context, before Pod, failed error) (now Pod, over bool, err error) {
	now, err = h.backend.GetPod(ctx, before.Name)
	switch {
	case err != nil && AsError(err).Code == NotFound, err == nil && now.UID != before.UID:
		return now, true, nil // it was removed
	case err != nil:
		return now, false, err
	case now.Node != before.Node || now.Epoch != before.Epoch || now.Migration != "" || before.Migration != "":
		return now, false, nil // it moves or has moved, and a log that broke off did so for that
	case failed != nil:
		return now, false, failed
	}
	if at, err := h.at(ctx, now.Node); err == nil {
		if said, err := at.GetPod(ctx, now.Name); err == nil {
			now = said
		}
	}
	return now, now.Phase == PodSucceeded || now.Phase == PodFailed || now.Phase == PodStopped, nil
}

// logSender sends lines in chunks that fit a message, and remembers the last one's time.
type logSender struct {
	stream *connect.ServerStream[droverv1.LogsResponse]
	last   time.Time
}

// Lines implements [LogWriter].
func (s *logSender) Lines(data []byte, last time.Time) error {
	for len(data) > 0 {
		n := min(chunkSize, len(data))
		msg := &droverv1.LogsResponse{Data: data[:n]}
		if data = data[n:]; len(data) == 0 && !last.IsZero() {
			msg.Last = timeToProto(last)
			s.last = last
		}
		if err := s.stream.Send(msg); err != nil {
			return err
		}
	}
	return nil
}

// PodLogs writes the lines of a container's log to w.
func (c *Client) PodLogs(ctx context.Context, name string, o LogOptions, w LogWriter) error {
	stream, err := c.pods.Logs(ctx, &droverv1.LogsRequest{
		Name: name, Follow: o.Follow, Container: o.Container, Since: timeToProto(o.Since), Tail: int32(o.Tail), Timestamps: o.Timestamps,
	})
	if err != nil {
		return c.wrap(err)
	}
	defer func() { _ = stream.Close() }() // its error would only repeat the first
	for stream.Receive() {
		if err := w.Lines(stream.Msg().GetData(), timeFromProto(stream.Msg().GetLast())); err != nil {
			return AsError(err)
		}
	}
	return c.wrap(stream.Err())
}
