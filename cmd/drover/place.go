package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/transport"
)

// place is where a host keeps what makes it a node. It is filled whole or not at all: what is not done yet lies in a
// draft directory beside the configuration, and the configuration comes last.
type place struct {
	config   string // file
	identity string // directory
	stateDir string
	draft    string // directory
}

func placeOf(file string, c configs.Config) place {
	return place{config: file, identity: c.Identity, stateDir: c.StateDir, draft: filepath.Join(filepath.Dir(file), ".joining-"+c.Node)}
}

// quorumDir is where the agent keeps the log of its mesh.
func (p place) quorumDir() string { return filepath.Join(p.stateDir, "raft") }

// vacant returns an error if the host is, or was, a node.
func (p place) vacant(what string) error {
	taken := func(why string) error {
		return api.Errorf(api.AlreadyExists, what, "%s", why).WithCure("drover mesh leave makes a bare host of it again; its help says what goes before")
	}
	if c, err := configs.Load(p.config); err == nil {
		return taken(fmt.Sprintf("this host is node %s of a mesh already: %s is there", c.Node, p.config))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return taken(fmt.Sprintf("%s is there: %v", p.config, err))
	}
	if _, err := os.Lstat(p.identity); err == nil && !p.cutOff() {
		return taken("an identity is there, in " + p.identity)
	}
	if left, _ := os.ReadDir(p.quorumDir()); len(left) > 0 {
		return taken("the log of a mesh is there, in " + p.quorumDir())
	}
	return nil
}

// cutOff says that the identity is that of an attempt which ended just before the configuration was there.
func (p place) cutOff() bool {
	draft, err := transport.ReadKey(p.draftKey())
	if err != nil {
		return false
	}
	key, err := transport.ReadKey(filepath.Join(p.identity, "node.key"))
	if err != nil {
		return false
	}
	public, ok := key.Public().(ed25519.PublicKey)
	return ok && public.Equal(draft.Public())
}

func (p place) draftKey() string { return filepath.Join(p.draft, "node.key") }

// begin opens the draft, and keeps others out of it until done is called.
func (p place) begin(what string) (done func(), err error) {
	fail := func(err error) (func(), error) { return nil, meshError(what, err) }
	if err := durable.MkdirAll(p.draft, 0o700); err != nil {
		return fail(err)
	}
	d, err := os.Open(p.draft)
	if err != nil {
		return fail(err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = d.Close()
		return nil, api.Errorf(api.FailedPrecondition, what, "another drover mesh init or join is at work on this host")
	}
	return func() { _ = d.Close() }, nil // closing unlocks
}

// key returns the key of the node to be: that of an earlier attempt which may have used its token, or a new one.
func (p place) key() (crypto.Signer, error) {
	path := p.draftKey()
	key, err := transport.ReadKey(path)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) { // cut off as it was written
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, transport.WriteKey(path, key)
}

// abandon removes the draft.
func (p place) abandon() { _ = os.RemoveAll(p.draft) }

// fill makes the host a node: identity writes the identity directory that it is given.
func (p place) fill(config []byte, identity func(dir string) error) (err error) {
	dir, file := filepath.Join(p.draft, "identity"), filepath.Join(p.draft, "agent.yaml")
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(file), os.RemoveAll(p.identity)); err != nil {
		return err
	}
	if err := identity(dir); err != nil {
		return err
	}
	if err := durable.Create(file, config, 0o600); err != nil {
		return err
	}
	if err := durable.Rename(dir, p.identity); err != nil {
		return err
	}
	if err := durable.Rename(file, p.config); err != nil {
		return errors.Join(err, os.RemoveAll(p.identity))
	}
	p.abandon()
	return nil
}
