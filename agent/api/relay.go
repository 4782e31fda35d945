package api

import (
	"sync"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// relay is a Progress that sends to a stream without ever blocking the migration: a caller that stops reading must not
// keep a pod frozen. Waiting news of a step's progress is replaced by newer; there are few other events.
type relay struct {
	stream *connect.ServerStream[droverv1.MigrateResponse]
	wake   chan struct{}
	done   chan struct{}

	mu       sync.Mutex
	queue    []*droverv1.MigrateResponse
	finished bool
}

// startRelay starts the goroutine that sends; finish waits for it.
func startRelay(stream *connect.ServerStream[droverv1.MigrateResponse]) *relay {
	r := &relay{stream: stream, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go r.send()
	return r
}

func (r *relay) Started(m Move) {
	r.put(&droverv1.MigrateResponse{Part: &droverv1.MigrateResponse_Started{Started: moveToProto(m)}})
}

func (r *relay) Event(e Event) {
	r.put(&droverv1.MigrateResponse{Part: &droverv1.MigrateResponse_Event{Event: eventToProto(e)}})
}

func (r *relay) put(msg *droverv1.MigrateResponse) {
	r.mu.Lock()
	if n := len(r.queue); n > 0 && isProgress(msg) && isProgress(r.queue[n-1]) && msg.GetEvent().GetStep() == r.queue[n-1].GetEvent().GetStep() {
		r.queue[n-1] = msg
	} else {
		r.queue = append(r.queue, msg)
	}
	r.mu.Unlock()
	r.signal()
}

// finish sends what waits and returns; the stream is the caller's again.
func (r *relay) finish() {
	r.mu.Lock()
	r.finished = true
	r.mu.Unlock()
	r.signal()
	<-r.done
}

func (r *relay) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *relay) send() {
	defer close(r.done)
	for range r.wake {
		r.mu.Lock()
		queue, finished := r.queue, r.finished
		r.queue = nil
		r.mu.Unlock()
		for _, msg := range queue {
			if r.stream.Send(msg) != nil {
				break // the caller is gone, which ends the migration's context
			}
		}
		if finished {
			return
		}
	}
}

func isProgress(msg *droverv1.MigrateResponse) bool {
	return StepState(msg.GetEvent().GetState()) == StepProgress
}
