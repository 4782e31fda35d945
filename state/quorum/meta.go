package quorum

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
)

// meta is what a server keeps besides the entries of its log (types.MetaStore): Raft's term and vote, which segments
// the log has, and what tells an intact log from one that has lost something. It's small, and always written whole, to
// two files one after the other. So one of them is intact whenever the power fails, and a file that is damaged later
// costs nothing, not even the latest vote.
type meta struct {
	vfs types.VFS
	dir string

	mu    sync.Mutex
	files [2]types.WritableFile
	known record
}

// record is the content of each file.
type record struct {
	// Serial counts the writes.
	Serial uint64                `json:"serial"`
	Log    types.PersistentState `json:"log"`
	Stable map[string][]byte     `json:"stable"`
	// End is an entry that the log had, and has as long as nobody cuts its end off.
	End mark `json:"end"`
	// Snapshot is the newest snapshot.
	Snapshot noted `json:"snapshot"`
	// Sums is the index of the first entry that must have a checksum.
	Sums uint64 `json:"sums"`
}

// mark is an entry of the log.
type mark struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
}

// A file is metaMagic, the length and the CRC-32C of what follows (four bytes each, big-endian), and the record in JSON.
const (
	metaMagic = "drM1"
	metaHead  = 12
	metaSpace = 16 << 10 // allocated at once, so that no vote fails because the disk is full
	maxMeta   = 1 << 20
)

var metaNames = [2]string{"meta.0", "meta.1"}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that a server's disk has lost or changed something that the server had on it.
var errDamaged = errors.New("the log of this server is damaged")

// Load implements types.MetaStore. Twice is once.
func (m *meta) Load(dir string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir = dir; m.files[0] != nil {
		return m.known.Log, nil
	}
	var known [2]*record
	present := 0
	for i, name := range metaNames {
		f, err := m.vfs.OpenWriter(dir, name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return types.PersistentState{}, err
		}
		present, m.files[i] = present+1, f
		if known[i], err = readRecord(f); err != nil {
			return types.PersistentState{}, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	newest := known[0]
	if newest == nil || known[1] != nil && known[1].Serial > newest.Serial {
		newest = known[1]
	}
	switch {
	case newest != nil:
		m.known = *newest
		for i, r := range known {
			if r == nil || r.Serial < newest.Serial {
				if err := m.put(i, *newest); err != nil {
					return types.PersistentState{}, err
				}
			}
		}
		return m.known.Log, nil
	case present == len(metaNames): // the second is made once the first is safe
		return types.PersistentState{}, fmt.Errorf("%w: neither %s nor %s can be read", errDamaged, metaNames[0], metaNames[1])
	}
	first, err := beforeMeta(dir)
	if err != nil {
		return types.PersistentState{}, err
	}
	if err := m.write(first); err != nil {
		return types.PersistentState{}, err
	}
	return m.known.Log, os.RemoveAll(filepath.Join(dir, metadb.FileName))
}

// beforeMeta is the record with which a server begins: what it kept in raft-wal's own database, if it did.
func beforeMeta(dir string) (record, error) {
	r := record{Stable: map[string][]byte{}}
	if _, err := os.Stat(filepath.Join(dir, metadb.FileName)); err != nil {
		return r, nil //nolint:nilerr // there is none
	}
	old := &metadb.BoltMetaDB{}
	log, err := old.Load(dir)
	if err != nil {
		return r, err
	}
	r.Log, r.Sums = log, sumsUnknown
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} { // raft.Raft's
		if r.Stable[key], err = old.GetStable([]byte(key)); err != nil {
			return r, errors.Join(err, old.Close())
		}
	}
	return r, old.Close()
}

// readRecord returns the record in a file, nil if it isn't whole.
func readRecord(f io.ReaderAt) (*record, error) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, metaHead+maxMeta))
	if err != nil {
		return nil, err
	}
	if len(data) < metaHead || string(data[:4]) != metaMagic {
		return nil, nil
	}
	size, sum := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	if int64(size) > int64(len(data)-metaHead) || crc32.Checksum(data[metaHead:metaHead+size], castagnoli) != sum {
		return nil, nil
	}
	r := &record{}
	return r, json.Unmarshal(data[metaHead:metaHead+size], r)
}

// write makes r what is known, for good.
func (m *meta) write(r record) error {
	r.Serial = m.known.Serial + 1
	for i := range metaNames {
		if err := m.put(i, r); err != nil {
			return err
		}
	}
	m.known = r
	return nil
}

// put writes a record to one file.
func (m *meta) put(i int, r record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(body) > maxMeta {
		return fmt.Errorf("the record of a log has %d bytes, more than the limit of %d", len(body), maxMeta)
	}
	data := binary.BigEndian.AppendUint32([]byte(metaMagic), uint32(len(body)))
	data = append(binary.BigEndian.AppendUint32(data, crc32.Checksum(body, castagnoli)), body...)
	if m.files[i] == nil {
		if m.files[i], err = m.vfs.Create(m.dir, metaNames[i], metaSpace); err != nil {
			return err
		}
	}
	if _, err := m.files[i].WriteAt(data, 0); err != nil {
		return fmt.Errorf("writing %s: %w", metaNames[i], err)
	}
	if err := m.files[i].Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", metaNames[i], err)
	}
	return nil
}

// change writes the record as edit leaves it.
func (m *meta) change(edit func(*record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.known
	r.Stable = maps.Clone(r.Stable)
	edit(&r)
	return m.write(r)
}

func (m *meta) record() record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

// CommitState implements types.MetaStore.
func (m *meta) CommitState(log types.PersistentState) error {
	return m.change(func(r *record) { r.Log = log })
}

// GetStable implements types.MetaStore.
func (m *meta) GetStable(key []byte) ([]byte, error) { return m.record().Stable[string(key)], nil }

// SetStable implements types.MetaStore.
func (m *meta) SetStable(key, value []byte) error {
	return m.change(func(r *record) { r.Stable[string(key)] = append([]byte(nil), value...) })
}

// Close implements types.MetaStore.
func (m *meta) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for i, f := range m.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
		m.files[i] = nil
	}
	return errors.Join(errs...)
}
