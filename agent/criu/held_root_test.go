//go:build root

package criu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watchedDir is none of those that CRIU searches by itself.
const watchedDir = "/srv/watched"

// held is what a pod has open that has lost its name, and what it watches.
type held struct {
	linked, image *os.File // a file that has another name left; one of the image
	text          []byte   // of the latter
	watch         int
}

func hold() (*held, error) {
	h := &held{}
	err := errors.Join(os.MkdirAll(watchedDir, 0o755), os.WriteFile("/srv/first", []byte("linked"), 0o600))
	if err == nil {
		err = os.Link("/srv/first", "/srv/second")
	}
	if err == nil {
		h.linked, err = os.Open("/srv/first")
	}
	if err == nil {
		h.image, err = os.Open("/etc/passwd")
	}
	if err == nil {
		h.text, err = os.ReadFile("/etc/passwd")
	}
	if err == nil {
		h.watch, err = unix.InotifyInit1(unix.IN_NONBLOCK)
	}
	if err == nil {
		_, err = unix.InotifyAddWatch(h.watch, watchedDir, unix.IN_CREATE)
	}
	return h, errors.Join(err, os.Remove("/srv/first"), os.Remove("/etc/passwd"))
}

// check says what of it isn't as it was.
func (h *held) check() error {
	text := make([]byte, len(h.text)+1)
	if n, _ := h.linked.ReadAt(text, 0); string(text[:n]) != "linked" {
		return fmt.Errorf("the file that lost a name has %q", text[:n])
	}
	if n, _ := h.image.ReadAt(text, 0); !bytes.Equal(text[:n], h.text) {
		return fmt.Errorf("the file of the image has %d bytes and not %d", n, len(h.text))
	}
	if names, _ := filepath.Glob("/srv/*"); len(names) != 2 { // the watched directory and the name that is left
		return fmt.Errorf("there are %q", names)
	}
	path := filepath.Join(watchedDir, "new")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Remove(path)); err != nil {
		return err
	}
	if n, err := unix.Read(h.watch, make([]byte, 4096)); n < unix.SizeofInotifyEvent || err != nil {
		return fmt.Errorf("the watch says nothing: %d, %w", n, err)
	}
	return nil
}
