package migrate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
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
	j.Entries = append(j.Entries, e)
	return j.write(e)
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
	return errors.Join(j.file.Close(), os.Remove(j.file.Name()))
}

func (j *Journal) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the journal of move %s: %w", j.Plan.ID, err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing the journal of move %s: %w", j.Plan.ID, err)
	}
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

// openJournals reads the journals that an earlier agent left in dir for one end of moves.
func openJournals(dir string, role Role) ([]*Journal, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journals: %w", err)
	}
	var all []*Journal
	for _, f := range files {
		if filepath.Ext(f.Name()) != "."+string(role) {
			continue
		}
		j, err := openJournal(filepath.Join(dir, f.Name()))
		if err != nil {
			return all, err
		}
		if j != nil {
			all = append(all, j)
		}
	}
	return all, nil
}

// openJournal reads a journal. One whose first line is not whole belongs to a move that had not begun: it is
// removed, and nil returned. A last line that is not whole is a step that had not begun.
func openJournal(name string) (*Journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a journal: %w", err)
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20) // a manifest is part of the header
	j := &Journal{file: f}
	var h header
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil {
		return nil, j.Remove()
	}
	j.Role, j.Plan = h.Role, h.Plan
	for lines.Scan() {
		var e Entry
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			break
		}
		j.Entries = append(j.Entries, e)
	}
	return j, lines.Err()
}
