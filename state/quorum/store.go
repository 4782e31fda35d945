package quorum

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// Segments of the log are allocated in full: small ones suit a state of some hundred commands a day.
const segmentSize = 4 << 20

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
