package workload

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Dialer connects from where the client stands.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// patience is how long the counter waits for an answer before it calls the connection dead.
const patience = 90 * time.Second

// Counter is a client that increments one number in a Redis as fast as it gets answers, over one connection. It never
// connects again: what happens to the connection, the counter reports.
type Counter struct {
	client *redis.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu           sync.Mutex
	dials        int
	acknowledged int64 // answers received
	mismatched   int64 // answers that were not the number after the one before
	last         int64 // number
	longest      time.Duration
	err          error
	news         chan struct{}
}

// Count is what a counter saw.
type Count struct {
	Connections  int   `json:"connections"`
	Resets       int   `json:"resets"` // connections that broke
	Acknowledged int64 `json:"acknowledged"`
	Lost         int64 `json:"lost"`       // acknowledged, and not in the end's number
	Duplicated   int64 `json:"duplicated"` // in the end's number, and never acknowledged
}

// NewCounter connects to a Redis.
func NewCounter(ctx context.Context, dial Dialer, address string) (*Counter, error) {
	c := &Counter{done: make(chan struct{}), news: make(chan struct{})}
	c.client = redis.NewClient(&redis.Options{
		Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1, PoolTimeout: patience,
		ReadTimeout: patience, WriteTimeout: patience, DialTimeout: 10 * time.Second,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.dials > 0 {
				return nil, errors.New("the one connection has broken")
			}
			conn, err := dial(ctx, network, address)
			if err == nil {
				c.dials++
			}
			return conn, err
		},
	})
	err := awaitListener(ctx, dial, address)
	if err == nil {
		err = c.client.Ping(ctx).Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to redis at %s: %w", address, err), c.client.Close())
	}
	return c, nil
}

// awaitListener waits until connections are accepted. The client itself would try again by connections that it throws away,
// and it has only one.
func awaitListener(ctx context.Context, dial Dialer, address string) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		conn, err := dial(attempt, "tcp", address)
		cancel()
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Fill stores random data.
func (c *Counter) Fill(ctx context.Context, bytes int64) error {
	const chunk = 64 << 10
	for i := int64(0); i*chunk < bytes; i++ {
		value := make([]byte, min(chunk, bytes-i*chunk))
		if _, err := rand.Read(value); err != nil {
			return err
		}
		if err := c.client.Set(ctx, fmt.Sprintf("fill:%d", i), value, 0).Err(); err != nil {
			return fmt.Errorf("filling redis: %w", err)
		}
	}
	return nil
}

const key = "drover:count"

// Start begins to count.
func (c *Counter) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			asked := time.Now()
			n, err := c.client.Incr(context.WithoutCancel(ctx), key).Result()
			c.note(n, time.Since(asked), err)
			if err != nil {
				return
			}
		}
	}()
}

func (c *Counter) note(n int64, waited time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = err
	} else {
		if n != c.last+1 {
			c.mismatched++
		}
		c.acknowledged++
		c.last = n
		c.longest = max(c.longest, waited)
	}
	close(c.news)
	c.news = make(chan struct{})
}

// Longest returns the longest wait for an answer since it was last called.
func (c *Counter) Longest() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := c.longest
	c.longest = 0
	return longest
}

// Await returns when n more answers have come.
func (c *Counter) Await(ctx context.Context, n int64) error {
	c.mu.Lock()
	goal := c.acknowledged + n
	c.mu.Unlock()
	for {
		c.mu.Lock()
		reached, err, news := c.acknowledged >= goal, c.err, c.news
		c.mu.Unlock()
		if err != nil || reached {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}

// Close ends a counter that was never started, or whose pod is lost: nothing is compared.
func (c *Counter) Close() error { return c.client.Close() }

// Stop ends the counting and compares what was acknowledged with what the Redis has. The error is that of the connection.
func (c *Counter) Stop(ctx context.Context) (Count, error) {
	defer c.client.Close()
	c.stop()
	<-c.done
	c.mu.Lock()
	count := Count{Connections: c.dials, Acknowledged: c.acknowledged}
	err := c.err
	c.mu.Unlock()
	if err != nil {
		count.Resets = 1
		return count, fmt.Errorf("the client's connection: %w", err)
	}
	stored, err := c.client.Get(ctx, key).Int64()
	if err != nil {
		count.Resets = 1
		return count, fmt.Errorf("reading the number at the end: %w", err)
	}
	count.Lost = max(0, count.Acknowledged-stored)
	count.Duplicated = max(0, stored-count.Acknowledged)
	if c.mismatched > 0 && count.Lost == 0 && count.Duplicated == 0 {
		count.Duplicated = c.mismatched
	}
	return count, nil
}
