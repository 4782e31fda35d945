//go:build root

package volatile

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
)

// layerTar is a layer's tar with some files, one of them of many blocks.
func layerTar(t *testing.T, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for path, content := range map[string]string{
		"etc/name": name, "etc/empty": "", "srv/large": strings.Repeat(name+"\n", 20000), "bin/tool": "#!/bin/sh\n",
	} {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o640, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// promises are what a store has acknowledged, as marks: the last word on a subject counts.
type promises map[string]string

func promisesOf(marks []string) promises {
	p := promises{}
	for _, m := range marks {
		subject, what, _ := strings.Cut(m, "=")
		p[subject] = what
	}
	return p
}

// Whatever a store lists after a loss of power verifies, and what it had acknowledged is there.
func TestStoreOutlivesThePower(t *testing.T) {
	ctx := context.Background()
	trees := map[state.Digest]string{} // of the layers, as they were unpacked
	sources := map[string][]byte{}
	for _, name := range []string{"one", "two", "three"} {
		sources[name] = layerTar(t, name)
	}
	other, err := volumes.OpenStore(t.TempDir())
	require.NoError(t, err)
	foreign, err := other.Load(ctx, volumes.LoadOptions{Name: "foreign"}, bytes.NewReader(layerTar(t, "foreign")))
	require.NoError(t, err)
	var blob bytes.Buffer
	require.NoError(t, other.Export(ctx, foreign[0].Layers[0], &blob))

	Losses{
		Random: 60, Seed: 4,
		Work: func(t *testing.T, dir string, promise func(string)) {
			s, err := volumes.OpenStore(filepath.Join(dir, "volumes"))
			require.NoError(t, err)
			load := func(name, source string) volumes.Image {
				images, err := s.Load(ctx, volumes.LoadOptions{Name: name}, bytes.NewReader(sources[source]))
				require.NoError(t, err)
				promise("image " + name + "=" + string(images[0].Digest))
				for _, l := range images[0].Layers {
					trees[l] = treeOf(t, layerDir(dir, l))
				}
				return images[0]
			}
			a := load("a:1", "one")
			load("b:1", "two")
			require.NoError(t, s.Import(ctx, foreign[0].Layers[0], bytes.NewReader(blob.Bytes())))
			promise("layer " + string(foreign[0].Layers[0]) + "=here")
			trees[foreign[0].Layers[0]] = treeOf(t, layerDir(dir, foreign[0].Layers[0]))
			_, err = s.Tag(a, "a:2")
			require.NoError(t, err)
			promise("image a:2=" + string(a.Digest))

			promise("image b:1=") // about to be moved
			load("b:1", "three")
			root, err := s.Mount(ctx, "pod-1", a.Layers)
			require.NoError(t, err)
			promise("pod pod-1=" + string(a.Layers[0]))
			f, err := os.Create(filepath.Join(root.Path, "etc", "written"))
			require.NoError(t, err)
			_, err = f.WriteString("by the pod")
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
			promise("written=etc/written")
			require.NoError(t, s.Unmount("pod-1"))

			promise("image a:1=") // about to be removed
			_, err = s.Remove("a:1")
			require.NoError(t, err)
			promise("image a:1=gone")
			_, err = s.Mount(ctx, "pod-2", a.Layers)
			require.NoError(t, err)
			promise("pod pod-2=" + string(a.Layers[0]))
			require.NoError(t, s.Unmount("pod-2"))
			promise("pod pod-1=")
			promise("written=")
			require.NoError(t, s.RemoveRoot("pod-1"))
			promise("pod pod-1=gone")

			// A layer that nothing has needed for long goes when the store is opened.
			promise("layer " + string(foreign[0].Layers[0]) + "=")
			packed := filepath.Join(dir, "volumes/blobs/sha256", filepath.Base(layerDir(dir, foreign[0].Layers[0]))+".tar.zst")
			require.NoError(t, os.Chtimes(packed, time.Unix(0, 0), time.Unix(0, 0)))
			s, err = volumes.OpenStore(filepath.Join(dir, "volumes"))
			require.NoError(t, err)
			require.False(t, s.Has(foreign[0].Layers[0]))
		},
		Check: func(t *testing.T, dir string, marks []string) {
			promised := promisesOf(marks)
			s, err := volumes.OpenStore(filepath.Join(dir, "volumes"))
			require.NoError(t, err)
			images, err := s.Images()
			require.NoError(t, err)
			has := map[string]volumes.Image{}
			for _, i := range images {
				has[i.Name] = i
				for _, l := range i.Layers {
					require.True(t, s.Has(l), "%s has layer %s", i.Name, l)
				}
			}
			layers, err := os.ReadDir(filepath.Join(dir, "volumes/layers/sha256"))
			require.NoError(t, err)
			for _, e := range layers {
				if l := state.Digest("sha256:" + e.Name()); s.Has(l) {
					requireVerifies(t, s, dir, l, trees)
				}
			}
			for subject, what := range promised {
				kind, name, _ := strings.Cut(subject, " ")
				switch {
				case what == "":
				case kind == "image" && what == "gone":
					require.NotContains(t, has, name)
				case kind == "image":
					require.Contains(t, has, name)
					require.Equal(t, what, string(has[name].Digest))
				case kind == "layer":
					require.True(t, s.Has(state.Digest(name)))
				case kind == "pod" && what == "gone":
					require.NoDirExists(t, filepath.Join(dir, "volumes/pods", name))
				case kind == "pod":
					requireMounts(t, s, dir, name, state.Digest(what), promised["written"])
				}
			}
		},
	}.Run(t)
}

func layerDir(dir string, l state.Digest) string {
	return filepath.Join(dir, "volumes/layers/sha256", strings.TrimPrefix(string(l), "sha256:"))
}

// requireVerifies unpacks what the store exports, and compares what it has unpacked.
func requireVerifies(t *testing.T, s *volumes.Store, dir string, l state.Digest, trees map[state.Digest]string) {
	t.Helper()
	var blob bytes.Buffer
	require.NoError(t, s.Export(t.Context(), l, &blob))
	plain, err := zstd.NewReader(&blob)
	require.NoError(t, err)
	defer plain.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(plain)
	require.NoError(t, err)
	require.Equal(t, string(l), fmt.Sprintf("sha256:%x", sha256.Sum256(content.Bytes())))
	require.Equal(t, trees[l], treeOf(t, layerDir(dir, l)))
}

// requireMounts mounts a pod's root, which has its layer's files and its own.
func requireMounts(t *testing.T, s *volumes.Store, dir, uid string, layer state.Digest, written string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "volumes/pods", uid, "lowers.json"))
	require.NoError(t, err)
	var lowers []state.Digest
	require.NoError(t, json.Unmarshal(text, &lowers))
	require.Equal(t, []state.Digest{layer}, lowers)
	root, err := s.Mount(t.Context(), uid, lowers)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Unmount(uid)) }()
	name, err := os.ReadFile(filepath.Join(root.Path, "etc/name"))
	require.NoError(t, err)
	require.Equal(t, "one", string(name))
	if uid == "pod-1" && written != "" {
		own, err := os.ReadFile(filepath.Join(root.Path, written))
		require.NoError(t, err)
		require.Equal(t, "by the pod", string(own))
	}
}

// treeOf describes the files below dir.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(strings.TrimPrefix(path, dir), info.Mode(), info.ModTime().UTC())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		lines = append(lines, line)
		return nil
	}))
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
