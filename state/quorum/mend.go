package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// Of raft-wal's segments: a frame is its type (one byte), three bytes of nothing, the length of its payload or a
// checksum (four, little-endian), and the payload, filled up to a multiple of its head.
const frameHead = 8

// mend puts the last segment of a log right after a crash, where raft-wal 0.4 doesn't:
//
//   - A crash after the entry that filled a segment and before the next one was begun leaves a segment that takes no more
//     entries, for ever. The next one is begun.
//   - What was being written when it crashed stays behind the last entry that is whole. It may be the index that ends a
//     segment, by half, which is then taken for all of it; or begin to make sense when something shorter is written over
//     its beginning. It's wiped.
func mend(dir string, vfs types.VFS, m *meta, size int) error {
	log, err := m.Load(dir)
	n := len(log.Segments)
	if err != nil || n == 0 || !log.Segments[n-1].SealTime.IsZero() {
		return err
	}
	tail := log.Segments[n-1]
	w, err := segment.NewFiler(dir, vfs).RecoverTail(tail)
	if errors.Is(err, os.ErrNotExist) { // it's made when the log is opened
		return nil
	}
	if err != nil {
		return err
	}
	last := w.LastIndex()
	_, index, err := w.Sealed()
	if err != nil || last < m.record().End.Index { // more is wrong with it
		return errors.Join(err, w.Close())
	}
	name := segment.FileName(tail)
	end, sealed, err := wholeUpTo(dir, name, vfs, w)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	if !sealed {
		return wipeAfter(dir, name, vfs, end)
	}
	segments := append([]types.SegmentInfo(nil), log.Segments...)
	segments[n-1].SealTime, segments[n-1].MaxIndex, segments[n-1].IndexStart = time.Now(), last, index
	log.Segments = append(segments, types.SegmentInfo{
		ID: log.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1, SizeLimit: uint32(size),
		Codec: wal.CodecBinaryV1, CreateTime: time.Now(),
	})
	log.NextSegmentID++
	return m.CommitState(log)
}

// wholeUpTo returns where what is whole of a segment ends, or that the segment is whole, with its index.
func wholeUpTo(dir, name string, vfs types.VFS, w types.SegmentWriter) (end int64, sealed bool, err error) {
	if w.LastIndex() == 0 {
		return 0, false, nil
	}
	at, err := w.(*segment.Writer).OffsetForFrame(w.LastIndex())
	if err != nil {
		return 0, false, err
	}
	f, err := vfs.OpenReader(dir, name)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	var entry, next [frameHead]byte
	if _, err := f.ReadAt(entry[:], int64(at)); err != nil {
		return 0, false, err
	}
	length := int64(binary.LittleEndian.Uint32(entry[4:]))
	end = int64(at) + frameHead + (length+frameHead-1)/frameHead*frameHead
	if _, err := f.ReadAt(next[:], end); err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	switch next[0] {
	case segment.FrameCommit:
		return end + frameHead, false, nil
	case segment.FrameIndex:
		return 0, true, nil
	}
	return 0, false, fmt.Errorf("%w: a frame of type %d follows the last entry of %s", errDamaged, next[0], name)
}

// wipeAfter makes the rest of a file zeros.
func wipeAfter(dir, name string, vfs types.VFS, end int64) (err error) {
	f, err := vfs.OpenWriter(dir, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rest, err := io.ReadAll(io.NewSectionReader(f, end, segment.MaxEntrySize))
	if err != nil {
		return err
	}
	used := len(rest)
	for used > 0 && rest[used-1] == 0 {
		used--
	}
	if used == 0 {
		return nil
	}
	if _, err := f.WriteAt(make([]byte, used), end); err != nil {
		return err
	}
	return f.Sync()
}
