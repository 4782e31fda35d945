package sim

import "slices"

// A disk has files that are lists of lines. A loss of power takes what was not synced.
type disk struct {
	files []*file
	full  bool
}

type file struct {
	name   string
	lines  []any
	synced int // lines that are sure; -1: not even the name is
}

func (d *disk) find(name string) *file {
	for _, f := range d.files {
		if f.name == name {
			return f
		}
	}
	return nil
}

// append writes a line, and says whether there was room.
func (d *disk) append(name string, line any) bool {
	if d.full {
		return false
	}
	f := d.find(name)
	if f == nil {
		f = &file{name: name, synced: -1}
		d.files = append(d.files, f)
	}
	f.lines = append(f.lines, line)
	return true
}

func (d *disk) sync(name string) {
	if f := d.find(name); f != nil {
		f.synced = len(f.lines)
	}
}

func (d *disk) remove(name string) {
	d.files = slices.DeleteFunc(d.files, func(f *file) bool { return f.name == name })
}

// lose cuts the power.
func (d *disk) lose() {
	d.files = slices.DeleteFunc(d.files, func(f *file) bool { return f.synced < 0 })
	for _, f := range d.files {
		f.lines = f.lines[:f.synced]
	}
	d.full = false
}
