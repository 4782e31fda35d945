package api

import (
	"slices"
	"sync"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// relay sends messages to a stream without ever blocking who puts them: a caller that stops reading must not keep a pod
// frozen. A waiting message about the same matter, such as how far a step is, is replaced by the newer one; there are few
// others.
type relay[M any] struct {
	stream *connect.ServerStream[M]
	about  func(*M) string // what the message is news of; "" is never replaced
	wake   chan struct{}
	done   chan struct{}

	mu       sync.Mutex
	queue    []*M
	finished bool
}

// startRelay starts the goroutine that sends; finish waits for it.
func startRelay[M any](stream *connect.ServerStream[M], about func(*M) string) *relay[M] {
	r := &relay[M]{stream: stream, about: about, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go r.send()
	return r
}

func (r *relay[M]) put(msg *M) {
	about := r.about(msg)
	r.mu.Lock()
	i := -1
	if about != "" {
		i = slices.IndexFunc(r.queue, func(m *M) bool { return r.about(m) == about })
	}
	if i >= 0 {
		r.queue[i] = msg
	} else {
		r.queue = append(r.queue, msg)
	}
	r.mu.Unlock()
	r.signal()
}

// finish sends what waits and returns; the stream is the caller's again.
func (r *relay[M]) finish() {
	r.mu.Lock()
	r.finished = true
	r.mu.Unlock()
	r.signal()
	<-r.done
}

func (r *relay[M]) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *relay[M]) send() {
	defer close(r.done)
	for range r.wake {
		r.mu.Lock()
		queue, finished := r.queue, r.finished
		r.queue = nil
		r.mu.Unlock()
		for _, msg := range queue {
			if r.stream.Send(msg) != nil {
				break // the caller is gone, which ends the request's context
			}
		}
		if finished {
			return
		}
	}
}

// moveRelay is the Progress of a move.
type moveRelay struct {
	*relay[droverv1.MigrateResponse]
}

func (r moveRelay) Started(m Move) {
	r.put(&droverv1.MigrateResponse{Part: &droverv1.MigrateResponse_Started{Started: moveToProto(m)}})
}

func (r moveRelay) Event(e Event) {
	r.put(&droverv1.MigrateResponse{Part: &droverv1.MigrateResponse_Event{Event: eventToProto(e)}})
}

func moveNews(m *droverv1.MigrateResponse) string { return progressOf(m.GetEvent()) }

// drainRelay is the DrainProgress of a drain.
type drainRelay struct{ *relay[droverv1.DrainResponse] }

func (r drainRelay) Planned(pods []string) {
	r.put(&droverv1.DrainResponse{Part: &droverv1.DrainResponse_Plan{Plan: &droverv1.DrainPlan{Pods: pods}}})
}

func (r drainRelay) Started(m Move) {
	r.put(&droverv1.DrainResponse{Part: &droverv1.DrainResponse_Started{Started: moveToProto(m)}})
}

func (r drainRelay) Event(pod string, e Event) {
	r.put(&droverv1.DrainResponse{Part: &droverv1.DrainResponse_Event{Event: &droverv1.DrainEvent{Pod: pod, Event: eventToProto(e)}}})
}

func (r drainRelay) Ended(p DrainedPod) {
	r.put(&droverv1.DrainResponse{Part: &droverv1.DrainResponse_Ended{Ended: drainedToProto(p)}})
}

func drainNews(m *droverv1.DrainResponse) string {
	if about := progressOf(m.GetEvent().GetEvent()); about != "" {
		return m.GetEvent().GetPod() + " " + about
	}
	return ""
}

// progressOf names the step that an event is a progress of, "" if it is something else.
func progressOf(e *droverv1.MigrationEvent) string {
	if StepState(e.GetState()) != StepProgress {
		return ""
	}
	return e.GetStep()
}
