package quorum

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// seekAtMost is the longest time between attempts to follow a better server than the one that is followed.
	seekAtMost = 30 * time.Second
	// askPeersAfter is the time between questions to all peers while no server that is known answers.
	askPeersAfter = 5 * time.Second
)

// A follower keeps this node's state like that of the servers by following one of them: the leader if it can, since
// that one is the first to know, else any.
type follower struct {
	*Quorum
	machine  *machine
	inquired time.Time
	doubted  chan struct{} // the server that is followed

	mu      sync.Mutex
	from    string // whom it follows
	news    news
	heard   time.Time
	problem string // with what it hears, for people
}

func newFollower(q *Quorum, m *machine) *follower {
	return &follower{Quorum: q, machine: m, doubted: make(chan struct{}, 1)}
}

// session is a server being followed.
type session struct {
	node string
	conn net.Conn
	r    *bufio.Reader
}

func (s *session) close() { _ = s.conn.Close() }

// run follows one server after another until ctx ends.
func (f *follower) run(ctx context.Context) {
	var s *session
	wait := f.cfg.timing.retry
	for ctx.Err() == nil {
		if s == nil {
			s = f.first(ctx)
		}
		if s != nil {
			f.log.Info("following a server", "server", s.node)
			begun := time.Now()
			f.follows(s.node)
			s = f.follow(ctx, s)
			f.follows("")
			if time.Since(begun) > f.cfg.timing.silence() {
				wait = f.cfg.timing.retry
			}
		}
		if s == nil {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, f.cfg.timing.silence())
		}
	}
	if s != nil {
		s.close()
	}
}

// first finds a server to follow, one with a leader if there is any.
func (f *follower) first(ctx context.Context) *session {
	known := f.servers()
	for _, led := range []bool{true, false} {
		if s, ok := f.dialAny(ctx, known, led); ok {
			return s
		}
	}
	if len(known) == 0 || time.Since(f.inquired) > askPeersAfter {
		f.inquire(ctx, f.everybody()) // they may know other servers
		f.inquired = time.Now()
	}
	return nil
}

// dialAny follows the first of the servers that can be had.
func (f *follower) dialAny(ctx context.Context, servers []string, led bool) (*session, bool) {
	var ways []func(context.Context) (*session, error)
	for _, node := range servers {
		ways = append(ways, func(ctx context.Context) (*session, error) { return f.dial(ctx, node, led) })
	}
	s, ok, errs := hedge(ctx, &f.tasks, f.cfg.timing.hedge, ways, (*session).close)
	if !ok && len(errs) > 0 {
		f.log.Debug("no server can be followed", "error", errors.Join(errs...))
	}
	return s, ok
}

// dial begins to follow a server. If led, it must have a leader.
func (f *follower) dial(ctx context.Context, node string, led bool) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.timing.rpc)
	defer cancel()
	c, err := f.cfg.Dial(ctx, node, Follow)
	if err != nil {
		return nil, fmt.Errorf("following %s: %w", node, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	s, err := f.greet(c, node, led)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("following %s: %w", node, err)
	}
	return s, nil
}

func (f *follower) greet(c net.Conn, node string, led bool) (*session, error) {
	t := f.cfg.timing
	s := &session{node: node, conn: c, r: bufio.NewReaderSize(patient{c, t.silence(), t.rpc}, maxPart)}
	if err := writeMessage(patient{c, t.silence(), t.rpc}, frameHello, hello{f.cfg.Node, positionOf(f.machine.view())}); err != nil {
		return nil, err
	}
	var n news
	if err := readMessage(s.r, frameNews, &n); err != nil {
		return nil, err
	}
	if led && n.Leader == "" {
		return nil, errors.New("it knows no leader")
	}
	return s, f.tell(n)
}

// follow takes what a server sends until it is lost, or a better one is found, which it returns.
func (f *follower) follow(ctx context.Context, s *session) *session {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, s.close)()
	better := make(chan *session, 1)
	if !f.tasks.spawn(func() {
		defer close(better)
		if b := f.seek(ctx, s.node); b != nil {
			better <- b
			s.close()
		}
	}) {
		close(better)
	}
	err := f.take(s)
	s.close()
	if ctx.Err() == nil {
		f.log.Info("a server is not followed any more", "server", s.node, "cause", err)
	}
	cancel()
	return <-better
}

// doubt has another server looked for at once: this one should have said more by now.
func (f *follower) doubt() {
	select {
	case f.doubted <- struct{}{}:
	default:
	}
}

// seek returns a server that is better than node, or nil when ctx ends.
func (f *follower) seek(ctx context.Context, node string) *session {
	select {
	case <-f.doubted: // another one
	default:
	}
	wait := f.cfg.timing.beat()
	for {
		var targets []string
		select {
		case <-time.After(wait):
			targets = f.better(node)
		case <-f.doubted:
			targets = f.others(node)
		case <-ctx.Done():
			return nil
		}
		if len(targets) == 0 {
			wait = f.cfg.timing.beat()
			continue
		}
		if s, ok := f.dialAny(ctx, targets, true); ok {
			return s
		}
		wait = min(2*wait, seekAtMost)
	}
}

// better are the servers that would be better to follow than node.
func (f *follower) better(node string) []string {
	switch leader := f.leader(); leader {
	case node:
		return nil
	case "":
		return f.others(node)
	default:
		return []string{leader}
	}
}

// others are the servers but for node.
func (f *follower) others(node string) []string {
	return slices.DeleteFunc(f.servers(), func(s string) bool { return s == node })
}

// follows notes whom this node follows.
func (f *follower) follows(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from = node
}

// told returns the latest news, how long ago it came, which is negative if there were none, and whom this node follows.
func (f *follower) told() (n news, ago time.Duration, from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heard.IsZero() {
		return f.news, -1, f.from
	}
	return f.news, time.Since(f.heard), f.from
}

func (f *follower) wrong() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}

// leader returns the leader as a server has told it lately, or "".
func (f *follower) leader() string {
	n, ago, _ := f.told()
	if ago > 2*f.cfg.timing.silence() {
		return ""
	}
	return n.Leader
}
