package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
)

// A Remnant is what one server has of its mesh.
type Remnant struct {
	View state.View
	// Servers voted last, by name.
	Servers []string
	// Term is Raft's, Entry the last of its log. Of several servers the one with the greatest Term of LastTerm, then Entry,
	// has the most.
	Term, LastTerm, Entry uint64
	// Newest is when that entry was written, by the clock of the leader of the time; zero if that isn't known.
	Newest time.Time
	// Era is how many times the mesh was recovered.
	Era uint64
}

// newEraTerms is by how much Raft's term grows when an era begins, beyond any that the servers that are lost can have come to:
// it takes an election for each, of a second and more.
const newEraTerms = 1 << 20

// ErrNoLog says that a directory has no log of a mesh.
var ErrNoLog = errors.New("there is no log of a mesh")

// Inspect reads what a server has in its directory. It changes nothing but what a crash has left undone. No agent may run
// with it.
func Inspect(dir string, log *slog.Logger) (Remnant, error) {
	d, err := openRemnant(dir, log)
	if err != nil {
		return Remnant{}, fmt.Errorf("reading the log in %s: %w", dir, err)
	}
	r, err := d.remnant()
	return r, errors.Join(err, d.Close())
}

// Recover makes node, whose directory that is, the only server of its mesh that votes, with all that it has, agreed or not.
// It's for when the majority is lost for good. The others join it anew, from nothing. No agent may run with the directory.
// Should it be interrupted, no agent starts before it's done again.
func Recover(dir, node string, log *slog.Logger) (Remnant, error) {
	d, err := openRemnant(dir, log)
	if err != nil {
		return Remnant{}, fmt.Errorf("reading the log in %s: %w", dir, err)
	}
	r, err := d.remnant()
	if err == nil {
		err = d.beginEra(node, &r, newLogger(log))
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return Remnant{}, fmt.Errorf("recovering the mesh from %s: %w", dir, err)
	}
	return r, nil
}

func openRemnant(dir string, log *slog.Logger) (*disk, error) {
	if _, err := os.Stat(filepath.Join(dir, logDir)); errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoLog
	}
	d, err := openDisk(dir, newLogger(log))
	if err != nil {
		return nil, err
	}
	blank, err := d.blank()
	if err == nil && blank {
		err = ErrNoLog
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// remnant reads all of a disk.
func (d *disk) remnant() (r Remnant, err error) {
	m := newMachine(&board{})
	defer func() {
		if what := recover(); what != nil { // raft.FSM has no errors
			err = fmt.Errorf("%v", what)
		}
	}()
	newest, err := d.snapshots.newest()
	if err != nil {
		return r, err
	}
	if newest.ID != "" {
		_, content, err := d.snapshots.Open(newest.ID)
		if err != nil {
			return r, err
		}
		if err := m.Restore(content); err != nil {
			return r, fmt.Errorf("reading snapshot %s: %w", newest.ID, err)
		}
		r.servers(newest.Configuration)
	}
	if r.Term, err = d.GetUint64([]byte("CurrentTerm")); err != nil {
		return r, err
	}
	if r.Era, err = d.GetUint64([]byte(eraKey)); err != nil {
		return r, err
	}
	last, err := d.LastIndex()
	if err != nil {
		return r, err
	}
	r.Entry, r.LastTerm = newest.Index, newest.Term
	for i := newest.Index + 1; i <= last; i++ {
		var l raft.Log
		if err := d.GetLog(i, &l); err != nil {
			return r, fmt.Errorf("reading entry %d: %w", i, err)
		}
		switch l.Type {
		case raft.LogCommand:
			m.Apply(&l)
		case raft.LogConfiguration:
			r.servers(raft.DecodeConfiguration(l.Data))
		}
		r.Entry, r.LastTerm, r.Newest = l.Index, l.Term, l.AppendedAt
	}
	r.View = m.view()
	return r, nil
}

func (r *Remnant) servers(c raft.Configuration) {
	r.Servers = []string{}
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			r.Servers = append(r.Servers, string(s.ID))
		}
	}
	slices.Sort(r.Servers)
}

// beginEra makes a node the only one that votes.
func (d *disk) beginEra(node string, r *Remnant, log *logger) error {
	r.Era, r.Term = r.Era+1, r.Term+newEraTerms
	number := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) } // as wal.WAL has it
	err := d.meta.change(func(k *record) {
		k.Stable[eraKey], k.Stable["CurrentTerm"], k.Stable[recoveringKey] = number(r.Era), number(r.Term), []byte{1}
	})
	if err != nil {
		return err
	}
	_, transport := raft.NewInmemTransport(raft.ServerAddress(node))
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(node), Address: raft.ServerAddress(node), Suffrage: raft.Voter}}}
	if err := raft.RecoverCluster(wan().raft(node, log), newMachine(&board{}), d.store, d.store, d.snapshots, transport, only); err != nil {
		return err
	}
	r.Servers = []string{node}
	return d.meta.change(func(k *record) { delete(k.Stable, recoveringKey) })
}

// recovering says that Recover was interrupted.
func (d *disk) recovering() error {
	if mark, err := d.Get([]byte(recoveringKey)); err != nil || len(mark) == 0 {
		return err
	}
	return errors.New("the recovery of the mesh was interrupted: do it again (drover mesh recover)")
}
