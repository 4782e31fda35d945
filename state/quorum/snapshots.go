package quorum

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Snapshots that are kept.
const snapshots = 2

// snapshotStore notes what the newest snapshot is, beside the log: Raft takes an older one, or none, for one that it
// can't read, and believes what the file says that describes it, which has no checksum.
type snapshotStore struct {
	raft.SnapshotStore
	dir  string
	meta *meta
}

// noted is a snapshot.
type noted struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"` // of the last entry in it
	Sum   uint32 `json:"sum"`   // CRC-32C of the file that describes it
}

func openSnapshots(dir string, m *meta, logger hclog.Logger) (*snapshotStore, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshots, logger)
	return &snapshotStore{files, filepath.Join(dir, snapshotsDir), m}, err
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	files, err := s.SnapshotStore.Create(version, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{SnapshotSink: files, store: s, index: index}, nil
}

// sum is the checksum of the file that describes a snapshot.
func (s *snapshotStore) sum(id string) (uint32, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, id, "meta.json"))
	return crc32.Checksum(data, castagnoli), err
}

// newest is what the newest snapshot that is intact says of itself, nothing if there is none.
func (s *snapshotStore) newest() (raft.SnapshotMeta, error) {
	list, err := s.List() // newest first
	if err != nil {
		return raft.SnapshotMeta{}, err
	}
	for _, m := range list {
		_, r, err := s.Open(m.ID) // it compares the checksum
		if err != nil {
			continue
		}
		sum, err := s.sum(m.ID)
		if err := r.Close(); err != nil {
			return *m, err
		}
		if known := s.meta.record().Snapshot; m.ID == known.ID && known.Sum != sum || err != nil {
			return *m, fmt.Errorf("%w: the description of snapshot %s is not as it was written", errDamaged, m.ID)
		}
		return *m, nil
	}
	return raft.SnapshotMeta{}, nil
}

// snapshotSink is a snapshot that is being written.
type snapshotSink struct {
	raft.SnapshotSink
	store *snapshotStore
	index uint64
	over  bool
}

// Close implements raft.SnapshotSink: from then on the log may be without what the snapshot has.
func (s *snapshotSink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	if err := s.SnapshotSink.Close(); err != nil {
		return err
	}
	sum, err := s.store.sum(s.ID())
	if err != nil {
		return fmt.Errorf("reading what describes the snapshot: %w", err)
	}
	return s.store.meta.change(func(r *record) { r.Snapshot = noted{s.ID(), s.index, sum} })
}

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error {
	s.over = true
	return s.SnapshotSink.Cancel()
}
