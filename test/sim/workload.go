package sim

import "fmt"

// memory is all that a workload remembers: what it was told, in order. It keeps h = H(h || input), so an input that was
// lost or counted twice shows for ever.
type memory struct {
	h uint64
	n int // inputs that it has seen, for people
}

func (m *memory) take(input uint64) {
	m.h = hash64(m.h, input)
	m.n++
}

func (m memory) String() string { return fmt.Sprintf("%d inputs, h=%08x", m.n, uint32(m.h)) }
