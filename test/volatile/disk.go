//go:build root

// Package volatile loses what was not flushed to a disk. It gives a test a real file system on a disk that remembers each
// write and each flush, and shows the test what that file system would have found after a loss of power at any moment: all
// that was flushed by then, and none, all or any part of the rest.
//
// The disk is a file of a FUSE file system below a loop device. So what fsync(2) means is the kernel's answer, and not the
// test's; ordering, journals and delayed allocation are those of hosts.
package volatile

import (
	"maps"
	"math/rand/v2"
	"sync"
)

// page is the unit in which a disk is kept, and which a loss of power leaves whole, the old one or the new, in bytes: what disks
// of today do, and what ext4 needs of them.
const page = 4096

// pages are those of a disk that aren't zero, by their numbers. Their content never changes: a write makes new ones.
type pages map[int64][]byte

func (p pages) read(at int64, into []byte) {
	for n := 0; n < len(into); {
		off := int(at+int64(n)) % page
		size := min(page-off, len(into)-n)
		if content, ok := p[(at+int64(n))/page]; ok {
			copy(into[n:n+size], content[off:])
		} else {
			clear(into[n : n+size])
		}
		n += size
	}
}

func (p pages) write(at int64, data []byte) {
	for n := 0; n < len(data); {
		number, off := (at+int64(n))/page, int(at+int64(n))%page
		size := min(page-off, len(data)-n)
		content := make([]byte, page)
		copy(content, p[number])
		copy(content[off:], data[n:n+size])
		p[number] = content
		n += size
	}
}

// event is something that happened to a disk: a write, a flush, or a mark of the test.
type event struct {
	at    int64
	data  []byte // of a write
	flush bool
	mark  string
}

// Disk is what a computer believes to have written, and how it came to that.
type Disk struct {
	size int64

	mu     sync.Mutex
	first  pages // before the first event
	now    pages
	events []event
}

func newDisk(size int64, content pages) *Disk {
	return &Disk{size: size, first: content, now: maps.Clone(content)}
}

func (d *Disk) readAt(into []byte, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.read(at, into)
}

func (d *Disk) writeAt(data []byte, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.write(at, data)
	d.events = append(d.events, event{at: at, data: append([]byte{}, data...)})
}

func (d *Disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, event{flush: true})
}

// Mark notes that something is promised to last from here on.
func (d *Disk) Mark(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, event{mark: what})
}

// Moments is how many there are at which the power can fail: before each event, and after the last.
func (d *Disk) Moments() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events) + 1
}

// Kept says what of the writes since the last flush is on the disk when the power fails.
type Kept int

// The ways of disks.
const (
	None Kept = iota
	All
	Any // each page of them or not, as chance has it
)

// Fail returns the disk as it is found after a loss of power at a moment, and the marks before it.
func (d *Disk) Fail(moment int, kept Kept, chance *rand.Rand) (after *Disk, marks []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := maps.Clone(d.first)
	var cached []event
	for _, e := range d.events[:moment] {
		switch {
		case e.mark != "":
			marks = append(marks, e.mark)
		case e.flush:
			for _, c := range cached {
				left.write(c.at, c.data)
			}
			cached = nil
		default:
			cached = append(cached, e)
		}
	}
	for _, c := range cached {
		for n := 0; n < len(c.data); {
			size := min(page-int(c.at+int64(n))%page, len(c.data)-n)
			if kept == All || kept == Any && chance.IntN(2) == 0 {
				left.write(c.at+int64(n), c.data[n:n+size])
			}
			n += size
		}
	}
	return newDisk(d.size, left), marks
}

// changes lists the moments at which a loss of power would leave something else than at the one before, or at which more was
// promised: with None only flushes and marks are of that kind.
func (d *Disk) changes(kept Kept) []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	moments := []int{0}
	for i, e := range d.events {
		if kept != None || e.flush || e.mark != "" {
			moments = append(moments, i+1)
		}
	}
	return moments
}
