package programs

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a client waits for an answer before it calls its connection dead.
const patience = 60 * time.Second

type redisClient struct {
	*redis.Client
	n int64
}

func dialRedis(ctx context.Context, dial Dialer, address string) (Client, error) {
	dial = once(dial)
	c := redis.NewClient(&redis.Options{
		Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1, ReadTimeout: patience, WriteTimeout: patience,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address)
		},
	})
	if err := c.Ping(ctx).Err(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &redisClient{Client: c}, nil
}

func (c *redisClient) Beat(ctx context.Context) error {
	n, err := c.Incr(ctx, "beats").Result()
	if err != nil {
		return err
	}
	c.n++
	if n != c.n {
		return fmt.Errorf("the counter is %d and should be %d", n, c.n)
	}
	return nil
}
