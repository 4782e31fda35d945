// Package workload has real programs for pods to run, out of the distribution's own packages, and clients that
// notice if anything happens to their connection.
package workload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cacheDir keeps root file systems between runs: they cost some seconds and a download each.
const cacheDir = "/var/cache/drover/images"

// staleAfter is when a cached root file system is built anew, so that security updates arrive.
const staleAfter = 7 * 24 * time.Hour

// Image returns the tar of a root file system that holds these packages of the distribution that this host runs, and what
// they depend on. It needs root and mmdebstrap. progress is told when that takes a while.
func Image(ctx context.Context, progress func(string), packages ...string) (path string, err error) {
	release, err := readRelease()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join(packages, " ")))
	path = filepath.Join(cacheDir, fmt.Sprintf("%s-%s-%x.tar", release.codename, packages[0], sum[:4]))
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) < staleAfter {
		return path, nil
	}
	progress(fmt.Sprintf("building a root file system with %s from the packages of %s", strings.Join(packages, ", "), release.codename))
	partial := path + ".partial.tar"
	defer func() { _ = os.Remove(partial) }() // it is there only if something failed
	args := []string{"--quiet", "--mode=root", "--variant=extract", "--format=tar", "--aptopt=APT::Install-Recommends false",
		"--include=" + strings.Join(packages, ","), "--components=" + release.components, release.codename, partial}
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", errors.New("mmdebstrap is not installed: run make deps")
		}
		return "", fmt.Errorf("building a root file system with mmdebstrap: %w: %s", err, lastLines(string(out), 5))
	}
	return path, os.Rename(partial, path)
}

type release struct{ codename, components string }

func readRelease() (release, error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return release{}, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = strings.Trim(value, `"`)
		}
	}
	r := release{codename: values["VERSION_CODENAME"], components: "main"}
	if values["ID"] == "ubuntu" {
		r.components = "main,universe"
	}
	if r.codename == "" || !slices.Contains([]string{"debian", "ubuntu"}, values["ID"]) {
		return release{}, fmt.Errorf("the workloads come from Debian's or Ubuntu's packages, and this is %s", values["PRETTY_NAME"])
	}
	return r, nil
}

// lock keeps two builders of one file apart.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
