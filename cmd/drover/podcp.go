package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) podCopy() *cobra.Command {
	container := ""
	cmd := &cobra.Command{
		Use:   "cp SOURCE TARGET",
		Short: "Copy files and directories into and out of a pod",
		Long: `Copies a file or a directory between this host and a container of a running pod; one of the two is POD:PATH. A target that
is a directory takes the source under its own name, as cp does. What comes into a pod is root's there; what comes out is the
caller's. The container needs no tar.`,
		Example: "  drover pod cp redis:/etc/redis/redis.conf .\n  drover pod cp ./site shop:/srv -c web",
		Args:    cobra.ExactArgs(2),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			from, out := podPath(args[0], container)
			to, in := podPath(args[1], container)
			switch {
			case out && !in:
				return copyFromPod(ctx, client, from, args[1])
			case in && !out:
				return copyToPod(ctx, client, args[0], to)
			}
			return &api.Error{Code: api.InvalidArgument, Why: "one of the two must be POD:PATH, the other a path on this host", Cure: "see drover pod cp --help"}
		}),
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "`name` of the container (default: the first)")
	return cmd
}

// podPath reads POD:PATH. A local path with a colon is written ./a:b.
func podPath(text, container string) (api.Path, bool) {
	pod, path, ok := strings.Cut(text, ":")
	if !ok || pod == "" || strings.HasPrefix(pod, ".") || strings.Contains(pod, "/") {
		return api.Path{}, false
	}
	return api.Path{Pod: pod, Container: container, Path: path}, true
}

// copyFromPod unpacks what comes out of a pod. A link in it leads nothing out of the target.
func copyFromPod(ctx context.Context, client *api.Client, from api.Path, target string) error {
	dir, name := filepath.Dir(target), filepath.Base(target)
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		dir, name = target, path.Base(path.Join("/", from.Path))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return inputError("copying to "+target, err)
	}
	defer root.Close()
	in, out := io.Pipe()
	go func() { out.CloseWithError(client.CopyFrom(ctx, from, out)) }()
	err = unpackInto(root, name, tar.NewReader(in))
	in.CloseWithError(errors.New("nobody reads it any more"))
	return err
}

// unpackInto unpacks a tar whose entries are all below one, which gets that name.
func unpackInto(root *os.Root, name string, from *tar.Reader) error {
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, below, _ := strings.Cut(path.Clean(h.Name), "/")
		at := filepath.Join(name, below)
		mode := h.FileInfo().Mode().Perm()
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.Mkdir(at, mode|0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		case tar.TypeSymlink:
			if err := root.Symlink(h.Linkname, at); err != nil {
				return err
			}
		case tar.TypeReg:
			f, err := root.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
			if err != nil {
				return err
			}
			_, err = io.Copy(f, from)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
	}
}

// copyToPod sends a file or directory. If the target is a directory of the pod it goes into it, else it gets the target's name.
func copyToPod(ctx context.Context, client *api.Client, source string, to api.Path) error {
	if _, err := os.Lstat(source); err != nil {
		return inputError("copying "+source, err)
	}
	resolved, err := filepath.EvalSymlinks(source)
	if err != nil {
		return inputError("copying "+source, err)
	}
	into := func(dir, name string) error {
		in, out := io.Pipe()
		go func() { out.CloseWithError(packFrom(resolved, name, out)) }()
		defer in.CloseWithError(errors.New("nobody reads it any more"))
		at := to
		at.Path = dir
		return client.CopyTo(ctx, at, in)
	}
	target := path.Join("/", to.Path)
	absolute, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	err = into(target, filepath.Base(absolute))
	missing, failed := errors.AsType[*api.Error](err)
	if failed && (missing.Code == api.NotFound || missing.Code == api.FailedPrecondition) && !strings.HasSuffix(to.Path, "/") && target != "/" {
		return into(path.Dir(target), path.Base(target)) // it is no directory: the source gets its name
	}
	return err
}

// packFrom writes a tar of a file or directory under a name.
func packFrom(source, name string, w io.Writer) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(source, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		link := ""
		switch mode := info.Mode(); {
		case mode&fs.ModeSymlink != 0:
			if link, err = os.Readlink(at); err != nil {
				return err
			}
		case !mode.IsRegular() && !mode.IsDir():
			return fmt.Errorf("%s: only files, directories and symbolic links can be copied", at)
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = path.Join(name, filepath.ToSlash(strings.TrimPrefix(at, source)))
		if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(at)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(t, f, h.Size)
		return err
	})
	return errors.Join(err, t.Close())
}
