//go:build root

package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/drover-mesh/drover/test/programs"
)

// beats lets a client beat without a pause.
type beats struct {
	client programs.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	n    int
	wait time.Duration // the longest
	err  error
	news chan struct{} // closed and made anew with each beat
}

func startBeats(c programs.Client) *beats {
	ctx, stop := context.WithCancel(context.Background())
	b := &beats{client: c, stop: stop, done: make(chan struct{}), news: make(chan struct{})}
	go func() {
		defer close(b.done)
		for ctx.Err() == nil {
			began := time.Now()
			err := c.Beat(context.WithoutCancel(ctx))
			b.note(time.Since(began), err)
			if err != nil {
				return
			}
		}
	}()
	return b
}

func (b *beats) note(took time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	b.wait, b.err = max(b.wait, took), err
	close(b.news)
	b.news = make(chan struct{})
}

// await waits for n more beats.
func (b *beats) await(n int) error {
	limit := time.After(patience)
	for first := -1; ; {
		b.mu.Lock()
		now, err, news := b.n, b.err, b.news
		b.mu.Unlock()
		if first < 0 {
			first = now
		}
		if err != nil || now >= first+n {
			return err
		}
		select {
		case <-news:
		case <-limit:
			return errors.New("the program doesn't answer its client")
		}
	}
}

// longest is the longest beat since it was asked for last.
func (b *beats) longest() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := b.wait
	b.wait = 0
	return wait
}

func (b *beats) end() error {
	b.stop()
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.client.Close() // done again it does no harm
	return b.err
}
