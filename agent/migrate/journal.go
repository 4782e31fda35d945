package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/durable"
)

// Role is which end of a move a node is.
type Role string

// The two ends of a move.
const (
	AsSource Role = "source"
	AsTarget Role = "target"
)

// Entry is a step that was about to run.
type Entry struct {
	Step string    `json:"step"`
	At   time.Time `json:"at"` // for people only: no decision looks at it
}

// Journal is one node's record of one move: a step is in it, and on the disk, before it runs. An agent that finds one
// when it starts settles the move with the mesh and then goes on or undoes; it is removed when nothing of the
// move is left to do. Its methods may be called at once.
//
// Its file is made whole, with room for the steps to come. So a step overwrites what is there: that changes nothing but
// data, which is the least that a disk can be asked to sync, and it succeeds on a full one.
type Journal struct {
	Role Role
	Plan Plan

	mu      sync.Mutex
	file    *os.File
	sum     uint32  // of the header
	at      int64   // where in the file the next record goes
	entries []Entry // what was recorded, the first first
}

// MakeJournals makes the directory of a node's journals, and clears it of what a crash left half made. No move of the
// node may have begun yet.
func MakeJournals(dir string) error {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of journals: %w", err)
	}
	drafts, err := filepath.Glob(filepath.Join(dir, "*"+durable.Draft))
	if err != nil {
		return err
	}
	for _, draft := range drafts {
		if err := os.Remove(draft); err != nil {
			return fmt.Errorf("clearing the directory of journals: %w", err)
		}
	}
	return nil
}

// createJournal begins the journal of a move in dir, which must exist. It is on the disk when createJournal returns.
func createJournal(dir string, role Role, p Plan) (*Journal, error) {
	name := filepath.Join(dir, p.ID+"."+string(role))
	j := &Journal{Role: role, Plan: p}
	_, err := os.Lstat(name)
	if err == nil {
		err = fs.ErrExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = j.create(name)
	}
	if err != nil {
		return nil, fmt.Errorf("beginning the journal of move %s: %w", p.ID, err)
	}
	return j, nil
}

// create writes the journal, with what was recorded of it, in the place of what has that name.
func (j *Journal) create(name string) error {
	content, err := j.encode()
	if err != nil {
		return err
	}
	draft := name + durable.Draft
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = durable.Create(draft, content, 0o600)
	if err == nil {
		err = durable.Rename(draft, name)
	}
	if err == nil {
		j.file, err = os.OpenFile(name, os.O_RDWR, 0)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(draft), removeIfThere(name))
	}
	return nil
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Begin records that a step is about to run, and returns when that is on the disk. A step that was recorded before costs
// nothing. After an error the step must not run, and may be begun again.
func (j *Journal) Begin(step string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.begun(step) {
		return nil
	}
	steps, at := append([]string{step}, together(j.Role, step)...), time.Now()
	block, err := j.record(len(j.entries), steps, at)
	if err == nil {
		_, err = j.file.WriteAt(block, j.at)
	}
	if err == nil {
		err = syncData(j.file)
	}
	if err != nil {
		return fmt.Errorf("writing the journal of move %s: %w", j.Plan.ID, err)
	}
	j.at += blockSize
	for _, s := range steps {
		j.entries = append(j.entries, Entry{s, at})
	}
	return nil
}

// together are the steps that are recorded with one, so that the pod doesn't stand still for the disk: what a source does
// about a move is the same from the freeze to its end, whichever step it died in.
func together(role Role, step string) []string {
	if role == AsSource && step == "freeze" {
		return []string{"final", "restore", "activate", "release"}
	}
	return nil
}

// syncData returns when what was written is on the disk.
func syncData(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fdatasync(int(fd)); !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, os.NewSyscallError("fdatasync", failed))
}

// Begun says whether step was recorded.
func (j *Journal) Begun(step string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.begun(step)
}

func (j *Journal) begun(step string) bool {
	return slices.ContainsFunc(j.entries, func(e Entry) bool { return e.Step == step })
}

// Entries are the steps that were recorded, the first first. The slice is the caller's.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// steps are what was recorded, as the machines know it.
func (j *Journal) steps() []decide.Step {
	var all []decide.Step
	for _, e := range j.Entries() {
		all = append(all, decide.Step(e.Step))
	}
	return all
}

// Remove ends the journal. It may be back after a loss of power, and is then found to be that of a move that is over.
func (j *Journal) Remove() error {
	err := removeIfThere(j.file.Name())
	_ = j.file.Close() // nothing of it is needed any more
	return err
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
			errs = append(errs, fmt.Errorf("reading journal %s: %w", filepath.Join(dir, f.Name()), err))
		} else if j != nil {
			all = append(all, j)
		}
	}
	return all, errors.Join(errs...)
}

// openJournal reads a journal; nil if it is that of a move that had not begun, and removed.
func openJournal(name string) (*Journal, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	j := &Journal{}
	if isLines(content) {
		whole, err := j.decodeLines(content)
		if err != nil {
			return nil, err
		}
		if !whole {
			return nil, os.Remove(name)
		}
		return j, j.create(name)
	}
	if err := j.decode(content); err != nil {
		return nil, err
	}
	j.file, err = os.OpenFile(name, os.O_RDWR, 0)
	return j, err
}
