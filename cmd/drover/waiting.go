package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// showEvery is how often a wait shows that it goes on.
const showEvery = 500 * time.Millisecond

// waiting makes a call that tells nothing until it ends and shows meanwhile, on a terminal, what it is at and for how long.
func (c *cli) waiting(at func() string, call func() error) error {
	if c.width == nil || c.structured() {
		return call()
	}
	s := &screen{out: c.out, width: c.width}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer s.clear()
		tick := time.NewTicker(showEvery)
		defer tick.Stop()
		for begun := time.Now(); ; {
			select {
			case <-stop:
				return
			case now := <-tick.C:
				s.overwrite(fmt.Sprintf("  %s  %.0f s", at(), now.Sub(begun).Seconds()))
			}
		}
	}()
	err := call()
	close(stop)
	<-stopped
	return err
}

// upload is something that is sent, and knows how far that is.
type upload struct {
	io.ReadCloser
	total int64 // bytes; 0 if nobody knows
	sent  atomic.Int64
	whole atomic.Bool
}

// Read implements [io.Reader].
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.sent.Add(int64(n))
	if err != nil {
		u.whole.Store(true)
	}
	return n, err
}

// String says how far it is.
func (u *upload) String() string {
	sent := u.sent.Load()
	switch {
	case u.whole.Load():
		return size(sent) + " sent, unpacking"
	case u.total > 0:
		return fmt.Sprintf("%s of %s (%d %%)", size(sent), size(u.total), min(100*sent/u.total, 100))
	}
	return size(sent)
}
