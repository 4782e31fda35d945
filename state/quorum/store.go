package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

const (
	// Segments of the log are allocated in full: small ones suit a state of some hundred commands a day.
	segmentSize = 4 << 20
	// markAfter is how long after an entry it is noted that the log had it.
	markAfter = 200 * time.Millisecond
	// sumsUnknown says that the entries of a log are older than checksums.
	sumsUnknown = math.MaxUint64
)

// store is the log on disk with Raft's term and vote. raft-wal alone takes a segment that is damaged in its middle for
// one that ends there, and gives entries as it finds them. So each entry has a checksum, and the end of the log is noted
// beside it: a moment later, since to wait for that would cost each entry a sync more, and a disk forgets by and by.
type store struct {
	*wal.WAL
	meta *meta
	lock *os.File

	next  atomic.Pointer[mark] // to be noted
	note  sync.Mutex           // held to note
	timer *time.Timer
}

// openLog opens or makes the log in a directory that only this process uses: two servers with one log would be two
// voters with one vote.
func openLog(dir string, logger hclog.Logger) (*store, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w: another agent runs with this directory", dir, err), lock.Close())
	}
	s, err := openStore(dir, fs.New(), segmentSize, logger)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

// openStore opens or makes a log on a file system.
func openStore(dir string, vfs types.VFS, size int, logger hclog.Logger) (*store, error) {
	s := &store{meta: &meta{vfs: vfs}}
	if err := mend(dir, vfs, s.meta, size); err != nil {
		return nil, errors.Join(err, s.meta.Close())
	}
	var err error
	s.WAL, err = wal.Open(dir, wal.WithMetaStore(s.meta), wal.WithSegmentFiler(segment.NewFiler(dir, vfs)), wal.WithSegmentSize(size), wal.WithLogger(logger))
	if err == nil && s.meta.record().Sums == sumsUnknown {
		var last uint64
		if last, err = s.LastIndex(); err == nil {
			err = s.meta.change(func(r *record) { r.Sums = last + 1 })
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.meta.Close())
	}
	s.timer = time.AfterFunc(time.Hour, func() { _ = s.mark() }) // what isn't noted now is with the next entry
	s.timer.Stop()
	return s, nil
}

// StoreLog implements raft.LogStore.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. The entries stay as they are.
func (s *store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	summed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		with := *l
		with.Extensions = binary.BigEndian.AppendUint32(append([]byte(nil), l.Extensions...), sumOf(l))
		summed[i] = &with
	}
	if err := s.WAL.StoreLogs(summed); err != nil {
		return err
	}
	last := logs[len(logs)-1]
	if s.next.Swap(&mark{last.Index, last.Term}) == nil {
		s.timer.Reset(markAfter)
	}
	return nil
}

// GetLog implements raft.LogStore.
func (s *store) GetLog(index uint64, l *raft.Log) (err error) {
	defer func() {
		if r := recover(); r != nil { // raft-wal's decoder, over an entry that is none
			err = fmt.Errorf("%w: entry %d: %v", errDamaged, index, r)
		}
	}()
	if err := s.WAL.GetLog(index, l); err != nil {
		return err
	}
	if index < s.meta.record().Sums {
		return nil
	}
	n := len(l.Extensions) - crc32.Size
	if n < 0 {
		return fmt.Errorf("%w: entry %d has no checksum", errDamaged, index)
	}
	sum := binary.BigEndian.Uint32(l.Extensions[n:])
	if l.Extensions = l.Extensions[:n:n]; n == 0 {
		l.Extensions = nil
	}
	if l.Index != index || sumOf(l) != sum {
		return fmt.Errorf("%w: entry %d is not as it was written", errDamaged, index)
	}
	return nil
}

// sumOf is the checksum of all of an entry.
func sumOf(l *raft.Log) uint32 {
	head := binary.BigEndian.AppendUint64(nil, l.Index)
	head = binary.BigEndian.AppendUint64(head, l.Term)
	head = binary.BigEndian.AppendUint64(head, uint64(l.AppendedAt.UnixNano()))
	head = binary.BigEndian.AppendUint32(append(head, byte(l.Type)), uint32(len(l.Data)))
	sum := crc32.Checksum(head, castagnoli)
	return crc32.Update(crc32.Update(sum, castagnoli, l.Data), castagnoli, l.Extensions)
}

// DeleteRange implements raft.LogStore. Raft doesn't append while it cuts the end off.
func (s *store) DeleteRange(from, to uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	if to < last || from > last {
		return s.WAL.DeleteRange(from, to)
	}
	var end mark // of what is left, unless that is nothing
	if from > first {
		var l raft.Log
		if err := s.GetLog(from-1, &l); err != nil {
			return err
		}
		end = mark{l.Index, l.Term}
	}
	s.note.Lock()
	defer s.note.Unlock()
	s.next.Store(nil)
	if err := s.meta.change(func(r *record) { r.End = end }); err != nil {
		return err
	}
	return s.WAL.DeleteRange(from, to)
}

// mark notes how far the log has come.
func (s *store) mark() error {
	s.note.Lock()
	defer s.note.Unlock()
	end := s.next.Swap(nil)
	if end == nil {
		return nil
	}
	return s.meta.change(func(r *record) { r.End = *end })
}

// Close implements io.Closer.
func (s *store) Close() error {
	s.timer.Stop()
	errs := []error{s.mark(), s.WAL.Close()} // with the meta
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
