package route

import (
	"context"
	"errors"
	"fmt"
)

// Sweep takes away what Routers have put into the host, as Teardown does, without a Router: for a host that is to be as it was
// before it had an agent. Of cfg only NetNS, NamesDir and Log count. Done again it does nothing.
func Sweep(ctx context.Context, cfg Config) error {
	cfg.defaults()
	r := newRouter(cfg)
	if err := r.enter(); err != nil {
		return err
	}
	if err := errors.Join(r.adopt(ctx), r.Teardown(ctx), r.Close()); err != nil {
		return fmt.Errorf("sweeping the network: %w", err)
	}
	return nil
}
