package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The file of a journal is text in blocks of blockSize bytes, each padded with blanks and ended by a newline:
//
//	drover journal 2 <bytes of the header> <its sum>
//	{"role":...,"plan":...}                           in as many blocks as it takes
//	<sum> {"n":0,"steps":["freeze",...],"at":...}     a block for each record
//	zeros                                             room for more records
//
// Sums are CRC-32C, in hexadecimal. That of a record is over the header's sum too, so that none passes in another journal.
// All but the records is synced before the file gets its name, and each record before the next is written. So of all
// blocks only the last record can be torn by a loss of power: it is of a step that did not run, and counts for nothing.
const (
	journalVersion = 2
	// blockSize is the least that disks write at once, in bytes.
	blockSize = 512
	// journalRoom is for so many records; more of them make the file grow.
	journalRoom = 64
)

const journalTitle = "drover journal %d %d %08x"

// errDamaged says that a journal is not what was synced to the disk.
var errDamaged = errors.New("the journal is damaged: the disk has lost or changed what it had confirmed; " +
	"its move stays as it is until the file is put right or removed, see docs/failures.md")

// header is what a journal is about.
type header struct {
	Role Role `json:"role"`
	Plan Plan `json:"plan"`
}

// record is what one call of Begin adds.
type record struct {
	N     int       `json:"n"` // how many steps were recorded before it
	Steps []string  `json:"steps"`
	At    time.Time `json:"at"`
}

func castagnoli(sum uint32, data []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), data)
}

// blocks is how many of them hold n bytes and the newline.
func blocks(n int) int { return n/blockSize + 1 }

// pad makes whole blocks of a text.
func pad(text []byte) []byte {
	padded := bytes.Repeat([]byte{' '}, blocks(len(text))*blockSize)
	copy(padded, text)
	padded[len(padded)-1] = '\n'
	return padded
}

// encode returns the file, and notes where the next record goes.
func (j *Journal) encode() ([]byte, error) {
	head, err := json.Marshal(header{j.Role, j.Plan})
	if err != nil {
		return nil, fmt.Errorf("encoding its plan: %w", err)
	}
	j.sum = castagnoli(0, head)
	content := append(pad(fmt.Appendf(nil, journalTitle, journalVersion, len(head), j.sum)), pad(head)...)
	for n, e := range j.entries {
		block, err := j.record(n, []string{e.Step}, e.At)
		if err != nil {
			return nil, err
		}
		content = append(content, block...)
	}
	j.at = int64(len(content))
	return append(content, make([]byte, journalRoom*blockSize)...), nil
}

// record returns the block of a record.
func (j *Journal) record(n int, steps []string, at time.Time) ([]byte, error) {
	text, err := json.Marshal(record{n, steps, at})
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	block := pad(fmt.Appendf(nil, "%08x %s", castagnoli(j.sum, text), text))
	if len(block) != blockSize {
		return nil, fmt.Errorf("a record of %d bytes has no room in a block", len(text))
	}
	return block, nil
}

// decode reads a file.
func (j *Journal) decode(content []byte) error {
	var version, size int
	title := content[:min(len(content), blockSize)]
	if _, err := fmt.Sscanf(string(title), journalTitle, &version, &size, &j.sum); err != nil {
		return fmt.Errorf("%w: it doesn't begin as a journal does", errDamaged)
	}
	if version != journalVersion {
		return fmt.Errorf("it is of version %d, and this agent knows %d: run the agent that wrote it until the move is over", version, journalVersion)
	}
	at := blockSize
	if !bytes.Equal(title, pad(fmt.Appendf(nil, journalTitle, version, size, j.sum))) || size < 0 || size > len(content) ||
		at+blocks(size)*blockSize > len(content) {
		return fmt.Errorf("%w: its beginning is not whole", errDamaged)
	}
	head := content[at : at+size]
	var h header
	if castagnoli(0, head) != j.sum || !bytes.Equal(content[at:at+blocks(size)*blockSize], pad(head)) || json.Unmarshal(head, &h) != nil {
		return fmt.Errorf("%w: its plan is not whole", errDamaged)
	}
	j.Role, j.Plan = h.Role, h.Plan
	at += blocks(size) * blockSize
	for n := 0; at < len(content); n++ {
		block := content[at:min(at+blockSize, len(content))]
		if !j.add(block) {
			if rest := content[at+len(block):]; !blank(rest) {
				return fmt.Errorf("%w: record %d is not whole, and others are behind it", errDamaged, n+1)
			}
			break
		}
		at += blockSize
	}
	j.at = int64(at)
	return nil
}

// add takes a record over from its block, if that is whole.
func (j *Journal) add(block []byte) bool {
	sum, text, ok := bytes.Cut(bytes.TrimRight(block, " \n"), []byte(" "))
	var r record
	if !ok || string(sum) != fmt.Sprintf("%08x", castagnoli(j.sum, text)) || !bytes.Equal(block, pad(bytes.TrimRight(block, " \n"))) ||
		json.Unmarshal(text, &r) != nil || r.N != len(j.entries) {
		return false
	}
	for _, s := range r.Steps {
		j.entries = append(j.entries, Entry{s, r.At})
	}
	return true
}

func blank(data []byte) bool { return len(bytes.TrimLeft(data, "\x00")) == 0 }
