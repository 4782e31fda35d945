package migrate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Role is which end of a move a node is.
type Role string

// The two ends of a move.
const (
	AsSource Role = "source"
	AsTarget Role = "target"
)

// Entry is a line of a journal: the step that is about to run.
type Entry struct {
	Step string    `json:"step"`
	At   time.Time `json:"at"` // for people only: no decision looks at it
}

// header is a journal's first line.
type header struct {
	Role Role `json:"role"`
	Plan Plan `json:"plan"`
}

// Journal is one node's record of one move: a line is written before its step runs. An agent that finds one
// when it starts settles the move with the mesh and then goes on or undoes; it is removed when nothing of the
// move is left to do.
type Journal struct {
	file    *os.File
	whole   int64 // bytes of whole lines
	Role    Role
	Plan    Plan
	Entries []Entry
}

// createJournal begins the journal of a move in dir, which must exist.
func createJournal(dir string, role Role, p Plan) (*Journal, error) {
	name := filepath.Join(dir, p.ID+"."+string(role))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("beginning the journal of move %s: %w", p.ID, err)
	}
	j := &Journal{file: f, Role: role, Plan: p}
	if err := j.write(header{role, p}); err != nil {
		_ = j.Remove()
		return nil, err
	}
	if err := j.sync(dir); err != nil {
		_ = j.Remove()
		return nil, err
	}
	return j, nil
}

// Begin records that step is about to run. It survives a kill of the agent at once; it is not forced to the
// disk, because what a power cut takes, the frozen pod and its images in memory, needs no journal afterwards.
func (j *Journal) Begin(step string) error {
	e := Entry{Step: step, At: time.Now()}
	if err := j.write(e); err != nil {
		return err
	}
	j.Entries = append(j.Entries, e)
	return nil
}

// Begun says whether step was recorded.
func (j *Journal) Begun(step string) bool {
	for _, e := range j.Entries {
		if e.Step == step {
			return true
		}
	}
	return false
}

// Remove ends the journal.
func (j *Journal) Remove() error {
	err := os.Remove(j.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	_ = j.file.Close() // nothing of it is needed any more
	return err
}

func (j *Journal) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the journal of move %s: %w", j.Plan.ID, err)
	}
	n, err := j.file.Write(append(line, '\n'))
	if err != nil { // as on a full disk; what comes next must not be the end of half a line
		return errors.Join(fmt.Errorf("writing the journal of move %s: %w", j.Plan.ID, err), j.file.Truncate(j.whole))
	}
	j.whole += int64(n)
	return nil
}

func (j *Journal) sync(dir string) error {
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("syncing the journal of move %s: %w", j.Plan.ID, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the journals: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing the journals: %w", err)
	}
	return nil
}

// openJournals reads the journals that an earlier agent left in dir for one end of moves. The error names those that
// can't be read; the others are returned all the same.
func openJournals(dir string, role Role) ([]*Journal, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journals: %w", err)
	}
	var all []*Journal
	var errs []error
	for _, f := range files {
		if filepath.Ext(f.Name()) != "."+string(role) {
			continue
		}
		j, err := openJournal(filepath.Join(dir, f.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("reading journal %s: %w", f.Name(), err))
		} else if j != nil {
			all = append(all, j)
		}
	}
	return all, errors.Join(errs...)
}

// openJournal reads a journal. One whose first line is not whole belongs to a move that had not begun: it is
// removed, and nil returned. A last line that is not whole is a step that had not begun, and cut off.
func openJournal(name string) (*Journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: f}
	if err := j.read(); err != nil {
		_ = f.Close()
		return nil, err
	}
	if j.whole == 0 {
		return nil, j.Remove()
	}
	return j, nil
}

// read reads what stands in the file.
func (j *Journal) read() error {
	lines := bufio.NewReader(j.file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return j.file.Truncate(j.whole)
		}
		if err != nil {
			return err
		}
		if err := j.add(line); err != nil {
			return err
		}
		j.whole += int64(len(line))
	}
}

func (j *Journal) add(line []byte) error {
	if j.whole > 0 {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		j.Entries = append(j.Entries, e)
		return nil
	}
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return err
	}
	j.Role, j.Plan = h.Role, h.Plan
	return nil
}
