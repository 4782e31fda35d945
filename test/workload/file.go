package workload

import (
	"archive/tar"
	"context"
	"io"
	"os"
)

// File returns the content of a file in a tar, "" if it isn't there.
func File(ctx context.Context, path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for t := tar.NewReader(f); ctx.Err() == nil; {
		h, err := t.Next()
		if err != nil {
			return ""
		}
		if h.Name == name {
			text, _ := io.ReadAll(t)
			return string(text)
		}
	}
	return ""
}
