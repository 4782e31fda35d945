package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxImages bounds the files of a checkpoint; a pod of a thousand processes has some five thousand.
	maxImages = 1 << 16
	// stalled is how long nothing may arrive before a take-over gives up.
	stalled = 30 * time.Second
)

// cargo is what has arrived of a pod. Images, the writable layer and the word that all was sent come on
// different streams, in any order.
type cargo struct {
	mu     sync.Mutex
	images map[string]File
	uppers int
	err    error
	news   chan struct{} // closed, and made anew, when something has arrived or broken
}

func newCargo() cargo {
	return cargo{images: map[string]File{}, news: make(chan struct{})}
}

func (c *cargo) addImage(f File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images[f.Name] = f
	c.tell()
}

// room refuses what would be one image too many, or comes after something that did not arrive.
func (c *cargo) room() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.images) >= maxImages {
		return fmt.Errorf("a checkpoint has at most %d images", maxImages)
	}
	return c.err
}

func (c *cargo) addUpper() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uppers++
	c.tell()
}

// broke records that something did not arrive, and returns err.
func (c *cargo) broke(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil { // the first is the cause of those that follow
		c.err = err
	}
	c.tell()
	return err
}

func (c *cargo) tell() {
	close(c.news)
	c.news = make(chan struct{})
}

// wait returns when all that m lists has arrived, with the digests it had when it was sent.
func (c *cargo) wait(ctx context.Context, m Manifest) error {
	for {
		whole, news, err := c.whole(m)
		if whole || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-time.After(stalled):
			return fmt.Errorf("nothing has arrived for %s, and the checkpoint is not whole: %s", stalled, c.missing(m))
		}
	}
}

// whole says whether all has arrived, and if not, what tells of more.
func (c *cargo) whole(m Manifest) (bool, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false, nil, c.err
	}
	if len(m.Images) == 0 {
		return false, nil, errors.New("a checkpoint has images, and none was sent")
	}
	for _, want := range m.Images {
		got, ok := c.images[want.Name]
		if !ok {
			return false, c.news, nil
		}
		if got != want {
			return false, nil, fmt.Errorf("image %s arrived with %d bytes and digest %s, and was sent with %d and %s",
				want.Name, got.Size, got.Digest, want.Size, want.Digest)
		}
	}
	return c.uppers >= m.Uppers, c.news, nil
}

// missing says what has not arrived, for people.
func (c *cargo) missing(m Manifest) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, want := range m.Images {
		if _, ok := c.images[want.Name]; !ok {
			names = append(names, want.Name)
		}
	}
	return fmt.Sprintf("%d of %d images %v, %d of %d generations of the writable layer",
		len(names), len(m.Images), names, m.Uppers-c.uppers, m.Uppers)
}
