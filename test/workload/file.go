package workload

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
)

// File returns the content of a file of an image.
func File(image, name string) ([]byte, error) {
	f, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err != nil {
			return nil, fmt.Errorf("looking for %s in %s: %w", name, image, err)
		}
		if h.Name == name {
			return io.ReadAll(t)
		}
	}
}
