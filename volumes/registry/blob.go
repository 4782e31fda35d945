package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// retry says how a broken transfer is taken up again.
type retry struct {
	tries int           // in a row that bring nothing
	wait  time.Duration // before the first, twice as long before each other
	idle  time.Duration // after which a connection that brings nothing counts as broken
}

// patient bridges a link that is away for some ten seconds.
var patient = retry{tries: 6, wait: 200 * time.Millisecond, idle: time.Minute}

// errIdle says that a connection is there and brings nothing.
var errIdle = errors.New("nothing has come for a while")

// Blob implements [oci.Source].
func (s *source) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	b := &blob{remote: s.Remote, ctx: ctx, descriptor: d}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// blob reads a blob, over as many connections as it takes.
type blob struct {
	remote     *Remote
	ctx        context.Context //nolint:containedctx // of the reading: an io.Reader is given none
	descriptor v1.Descriptor
	at         int64 // bytes read
	failed     int   // connections in a row that brought nothing

	body   io.ReadCloser
	whole  bool  // the end of body is that of the blob, as the registry has it
	again  int64 // bytes that body brings once more
	idle   *time.Timer
	cancel context.CancelCauseFunc
}

// open asks for what is still to be read.
func (b *blob) open() error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	idle := time.AfterFunc(b.remote.retry.idle, func() { cancel(errIdle) })
	header := http.Header{}
	if b.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.at, b.descriptor.Size-1))
	}
	resp, err := b.remote.ask(ctx, http.MethodGet, "blobs/"+b.descriptor.Digest.String(), header) //nolint:bodyclose // drop does
	if err != nil {
		idle.Stop()
		cancel(nil)
		return err
	}
	idle.Stop()
	b.body, b.idle, b.cancel, b.whole, b.again = resp.Body, idle, cancel, resp.ContentLength >= 0, 0
	if resp.StatusCode == http.StatusOK {
		b.again = b.at
	}
	return nil
}

// drop closes the connection, if there is one.
func (b *blob) drop() {
	if b.body == nil {
		return
	}
	b.idle.Stop()
	b.cancel(nil)
	_ = b.body.Close()
	b.body = nil
}

func (b *blob) Read(p []byte) (int, error) {
	for {
		n, err := b.readOnce(p)
		if n > 0 {
			b.at += int64(n)
			b.failed = 0
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && (b.whole || b.at >= b.descriptor.Size):
			return n, err
		case b.ctx.Err() != nil:
			return n, context.Cause(b.ctx)
		}
		b.drop()
		if n > 0 {
			return n, nil // what went wrong does so again
		}
		if permanent(err) || b.failed >= b.remote.retry.tries {
			return 0, explain(b.remote.name, b.remote.options, fmt.Errorf("reading blob %s: %w", b.descriptor.Digest, err))
		}
		select {
		case <-time.After(b.remote.retry.wait << b.failed):
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		}
		b.failed++
	}
}

// readOnce reads from the connection, and makes one first if there is none.
func (b *blob) readOnce(p []byte) (int, error) {
	if b.body == nil {
		if err := b.open(); err != nil {
			return 0, err
		}
	}
	for {
		part := p
		if b.again > 0 {
			part = p[:min(int64(len(p)), b.again)]
		}
		b.idle.Reset(b.remote.retry.idle)
		n, err := b.body.Read(part)
		b.idle.Stop()
		if b.again == 0 || err != nil {
			return n, err
		}
		b.again -= int64(n)
	}
}

// Close gives the connection back.
func (b *blob) Close() error {
	b.drop()
	return nil
}
