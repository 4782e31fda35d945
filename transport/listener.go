package transport

import (
	"net"
	"sync"
)

// backlog is how many accepted streams of a kind may wait for Accept. More are refused.
const backlog = 1024

// listener is the queue of the streams of one kind.
type listener struct {
	transport *Transport
	kind      Kind
	queue     chan *Conn

	mu       sync.Mutex
	done     chan struct{} // closed by shut
	shutOnce sync.Once
}

// Listener claims the streams of a kind that peers open. Accept returns *[Conn]. Streams of a kind that no
// listener has claimed are refused. While one is open, Listener returns the same one again; after its Close
// a new one may be had. On a closed transport the listener is closed.
func (t *Transport) Listener(kind Kind) net.Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.listeners[kind]; l != nil {
		return l
	}
	l := &listener{transport: t, kind: kind, queue: make(chan *Conn, backlog), done: make(chan struct{})}
	if t.closed {
		l.shut()
		return l
	}
	t.listeners[kind] = l
	return l
}

func (t *Transport) listening(kind Kind) *listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listeners[kind]
}

// offer queues a stream. It returns false if the queue is full or the listener closed.
func (l *listener) offer(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return false
	default:
	}
	select {
	case l.queue <- c:
		return true
	default:
		return false
	}
}

// Accept waits for the next stream. After Close it returns net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close gives the kind back and refuses the streams that wait. Accepted ones go on.
func (l *listener) Close() error {
	l.transport.mu.Lock()
	if l.transport.listeners[l.kind] == l {
		delete(l.transport.listeners, l.kind)
	}
	l.transport.mu.Unlock()
	l.shut()
	return nil
}

func (l *listener) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shutOnce.Do(func() {
		close(l.done)
		for {
			select {
			case c := <-l.queue:
				c.Reset(codeUnknownKind)
			default:
				return
			}
		}
	})
}

// Addr returns the transport's UDP address.
func (l *listener) Addr() net.Addr { return l.transport.socket.LocalAddr() }
