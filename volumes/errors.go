package volumes

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound says that the store has no such image or layer.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous says that several images are meant.
	ErrAmbiguous = errors.New("several images fit")
	// ErrInUse says that something still needs what was to be removed.
	ErrInUse = errors.New("in use")
	// ErrCorrupt says that bytes don't have the digest or the form that they should have.
	ErrCorrupt = errors.New("corrupt")
	// ErrTooLarge says that a layer or an upper exceeds a limit of this store.
	ErrTooLarge = errors.New("too large")
	// ErrFull says that the file system has no room for what was to be written; nothing of it was kept.
	ErrFull = errors.New("no space left")
)

// A RefusedError reports an entry of a layer that is not taken in.
type RefusedError struct {
	Entry  string // its name, as given
	Reason string // what it would do, for people
	cause  error
}

func (e *RefusedError) Error() string { return fmt.Sprintf("layer entry %q %s", e.Entry, e.Reason) }

// Unwrap returns what the kernel said, if it was asked.
func (e *RefusedError) Unwrap() error { return e.cause }

// corrupt marks what a reader of tars or of packed data says of its input.
func corrupt(err error) error {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// explainFull turns the kernel's word for a full disk or quota into one that says what to do about it.
func explainFull(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w on the file system of %s: free some, or move the state directory: %w", ErrFull, dir, err)
	}
	return err
}
