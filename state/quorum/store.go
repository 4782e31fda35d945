package quorum

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

const (
	// Segments of the log are allocated in full: small ones suit a state of some hundred commands a day.
	segmentSize = 4 << 20
	// Snapshots that are kept.
	snapshots = 2
)

// Names in the directory of a server.
const (
	logDir       = "log"
	snapshotsDir = "snapshots" // raft.FileSnapshotStore's
	wipedDir     = "wiped"     // a log that is on its way out
)

// disk is what a server remembers: log, votes and snapshots.
type disk struct {
	*store
	snapshots raft.SnapshotStore
}

// openDisk opens or makes what a server remembers.
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
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshots, logger)
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
	if err := d.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: remove %s, and this server joins the mesh anew", err, dir), d.Close())
	}
	return d, nil
}

// check reads the whole log, some thousand entries at most: Raft panics over one that it can't read.
func (d *disk) check() error {
	first, err := d.FirstIndex()
	if err != nil {
		return err
	}
	last, err := d.LastIndex()
	for i := max(first, 1); err == nil && i <= last; i++ {
		if err = d.GetLog(i, &raft.Log{}); err != nil {
			err = fmt.Errorf("entry %d of the log can't be read: %w", i, err)
		}
	}
	return err
}

// unfinished says that a server died while it began a mesh (raft.BootstrapCluster): it is in the first term and has
// no configuration. It has never voted either.
func (d *disk) unfinished() bool {
	term, err := d.GetUint64([]byte("CurrentTerm"))
	last, lastErr := d.LastIndex()
	list, listErr := d.snapshots.List()
	return err == nil && lastErr == nil && listErr == nil && term == 1 && last == 0 && len(list) == 0
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

// remembers says whether a directory is, or was, a server's.
func remembers(dir string) bool {
	for _, name := range []string{logDir, snapshotsDir, wipedDir} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// store is the log on disk, and the database in which it keeps Raft's votes.
type store struct {
	*wal.WAL
	meta *metadb.BoltMetaDB
	lock *os.File
}

// openLog opens or makes the log in a directory that only this process uses: two servers with one log
// would be two voters with one vote. (The database has a lock too, but waits for it for ever.)
func openLog(dir string, logger hclog.Logger) (*store, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w: another agent runs with this directory", dir, err), lock.Close())
	}
	meta := &metadb.BoltMetaDB{}
	log, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(segmentSize), wal.WithLogger(logger))
	if err != nil {
		return nil, errors.Join(err, meta.Close(), lock.Close())
	}
	return &store{log, meta, lock}, nil
}

// Close closes the database too, which the log leaves open when it is closed.
func (s *store) Close() error {
	return errors.Join(s.WAL.Close(), s.meta.Close(), s.lock.Close())
}
