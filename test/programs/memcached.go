package programs

import (
	"context"
	"fmt"
	"net"

	"github.com/bradfitz/gomemcache/memcache"
)

type memcachedClient struct {
	*memcache.Client
	n uint64
}

func dialMemcached(ctx context.Context, dial Dialer, address string) (Client, error) {
	dial = once(dial)
	c := memcache.New(address)
	c.Timeout, c.MaxIdleConns = patience, 1
	c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, address)
	}
	if err := c.Set(&memcache.Item{Key: "beats", Value: []byte("0")}); err != nil {
		_ = c.Close()
		return nil, err
	}
	return &memcachedClient{Client: c}, ctx.Err()
}

func (c *memcachedClient) Beat(context.Context) error {
	n, err := c.Increment("beats", 1)
	if err != nil {
		return err
	}
	c.n++
	if n != c.n {
		return fmt.Errorf("the counter is %d and should be %d", n, c.n)
	}
	return nil
}
