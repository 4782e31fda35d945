package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// An input is what comes from elsewhere, as it comes. It stops with its context, counts, and remembers why it ended
// before its end: what is told of a broken stream by those who unpack it is but a consequence.
type input struct {
	ctx  context.Context
	r    io.Reader
	read int64
	tell func(read int64) // may be nil
	err  error
}

func (i *input) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		i.err = context.Cause(i.ctx)
		return 0, i.err
	}
	n, err := i.r.Read(b)
	i.read += int64(n)
	if i.tell != nil && n > 0 {
		i.tell(i.read)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}

// because prefers the end of the input as the reason of an error.
func (i *input) because(err error) error {
	if err != nil && i.err != nil {
		return i.err
	}
	return err
}

// drain reads what must be nothing.
func (i *input) drain(rest io.Reader) error {
	n, err := io.Copy(io.Discard, rest)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: %d bytes follow its end", ErrCorrupt, n)
	}
	return err
}

// An unpacked is what a packed input holds. It bounds how much: a small file can unpack to more than any disk has.
type unpacked struct {
	r      io.Reader
	packed *input
	limits Limits
	read   int64
}

func (u *unpacked) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	u.read += int64(n)
	// Headers count too: a tar of nothing but padding has no content that Limits could see.
	if u.read > u.limits.Bytes+u.limits.Entries*4096 {
		return 0, fmt.Errorf("%w: the tar has more bytes than is allowed", ErrTooLarge)
	}
	if u.read > u.limits.Bytes/64 && u.read/u.limits.Ratio > u.packed.read {
		return 0, fmt.Errorf("%w: it unpacks to more than %d times its size", ErrTooLarge, u.limits.Ratio)
	}
	return n, err
}
