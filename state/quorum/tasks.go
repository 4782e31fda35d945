package quorum

import "sync"

// tasks are goroutines that end before their owner does.
type tasks struct {
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

// spawn runs a task, or returns false because none are taken any more.
func (t *tasks) spawn(task func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.group.Go(task)
	}
	return !t.closed
}

// close takes no more tasks.
func (t *tasks) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

func (t *tasks) wait() { t.group.Wait() }
