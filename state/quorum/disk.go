package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// Names in the directory of a server.
const (
	logDir       = "log"
	snapshotsDir = "snapshots" // raft.FileSnapshotStore's
	wipedDir     = "wiped"     // a log that is on its way out
	damagedDir   = "damaged"   // what was found damaged, until this server votes again
)

// disk is what a server remembers: log, votes and snapshots.
type disk struct {
	*store
	snapshots *snapshotStore
}

// openDisk opens or makes what a server remembers. The error Is errDamaged if that isn't all that it has remembered.
func openDisk(dir string, logger hclog.Logger) (*disk, error) {
	if _, err := os.Stat(filepath.Join(dir, wipedDir)); err == nil { // the agent died amidst
		if err := wipe(dir); err != nil {
			return nil, err
		}
	}
	logs := filepath.Join(dir, logDir)
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, err
	}
	store, err := openLog(logs, logger)
	if err != nil {
		if errors.Is(err, wal.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) { // of a segment
			err = fmt.Errorf("%w: %w", errDamaged, err)
		}
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	snaps, err := openSnapshots(dir, store.meta, logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the snapshots: %w", err), store.Close())
	}
	d := &disk{store, snaps}
	if d.unfinished() {
		if err := errors.Join(d.Close(), wipe(dir)); err != nil {
			return nil, err
		}
		return openDisk(dir, logger)
	}
	newest, err := d.snapshots.newest()
	if err == nil {
		err = d.check(newest)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// check reads all of the log, some thousand entries at most, and compares it with what is known of it.
func (s *store) check(newest raft.SnapshotMeta) error {
	known := s.meta.record()
	term, err := s.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return err
	}
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	switch {
	case last < known.End.Index:
		return fmt.Errorf("%w: it ends with entry %d, and had entry %d", errDamaged, last, known.End.Index)
	case newest.Index < known.Snapshot.Index:
		return fmt.Errorf("%w: there was a snapshot of the first %d entries", errDamaged, known.Snapshot.Index)
	case first > newest.Index+1:
		return fmt.Errorf("%w: it begins with entry %d, and the newest snapshot ends with %d", errDamaged, first, newest.Index)
	case newest.Term > term:
		return fmt.Errorf("%w: a snapshot is of term %d, and the log of term %d", errDamaged, newest.Term, term)
	}
	for i := max(first, 1); i <= last; i++ {
		var l raft.Log
		switch err := s.GetLog(i, &l); {
		case errors.As(err, new(syscall.Errno)): // the disk's word: another try may succeed
			return fmt.Errorf("entry %d of the log can't be read: %w", i, err)
		case err != nil:
			return fmt.Errorf("%w: entry %d can't be read: %w", errDamaged, i, err)
		case l.Term > term || i == known.End.Index && l.Term != known.End.Term:
			return fmt.Errorf("%w: entry %d is of term %d", errDamaged, i, l.Term)
		}
	}
	return nil
}

// unfinished says that a server died while it began a mesh (raft.BootstrapCluster): it is in the first term and has
// no configuration. It has never voted either.
func (d *disk) unfinished() bool {
	term, err := d.GetUint64([]byte("CurrentTerm"))
	last, lastErr := d.LastIndex()
	list, listErr := d.snapshots.List()
	return err == nil && lastErr == nil && listErr == nil && term == 1 && last == 0 && len(list) == 0 && d.meta.record().End == mark{}
}

// blank says that there is nothing on it.
func (d *disk) blank() (bool, error) {
	known, err := raft.HasExistingState(d.store, d.store, d.snapshots)
	if err != nil {
		return false, fmt.Errorf("looking for what this server remembers: %w", err)
	}
	return !known, nil
}

// wipe makes a directory forget that it was a server's, log and votes first and at once. Nobody has it open.
func wipe(dir string) error {
	logs, wiped := filepath.Join(dir, logDir), filepath.Join(dir, wipedDir)
	err := os.Rename(logs, wiped)
	if os.IsExist(err) {
		err = os.RemoveAll(logs)
	}
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, snapshotsDir)); err != nil {
		return err
	}
	return os.RemoveAll(wiped)
}

// setAside takes what is damaged out of the way, the log last: as long as that is there it's found damaged. What was set
// aside before goes.
func setAside(dir string) error {
	aside := filepath.Join(dir, damagedDir)
	if _, err := os.Lstat(filepath.Join(aside, logDir)); err == nil {
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	for _, name := range []string{snapshotsDir, logDir} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name)); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// damaged says that a server's log was set aside, and that it has had no vote since.
func damaged(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, damagedDir))
	return err == nil
}

// remembers says whether a directory is, or was, a server's.
func remembers(dir string) bool {
	for _, name := range []string{logDir, snapshotsDir, wipedDir, damagedDir} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}
