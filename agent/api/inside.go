package api

import (
	"io"
	"time"
)

// LogOptions say which lines of a log are wanted.
type LogOptions struct {
	Container  string    // "" means the first that isn't an init container
	Follow     bool      // go on with what is written from now on
	Since      time.Time // only lines that were written after that
	Tail       int       // only the last so many of those that are there; 0 means all
	Timestamps bool      // put before each line when it was written
}

// LogWriter takes the lines of a log.
type LogWriter interface {
	// Lines takes whole lines, with their ends, and when the last of them was written; the zero time if more of it follows.
	Lines(data []byte, last time.Time) error
}

// LinesTo is a LogWriter that writes to W.
type LinesTo struct{ W io.Writer }

// Lines implements [LogWriter].
func (l LinesTo) Lines(data []byte, _ time.Time) error {
	_, err := l.W.Write(data)
	return err
}

// Exec is a command to be run in a container.
type Exec struct {
	Pod, Container string // container "" means the first that isn't an init container
	Command        []string
	TTY            bool        // give it a terminal
	Stdin          io.Reader   // nil for none
	Stdout, Stderr io.Writer   // with TTY all goes to Stdout
	Sizes          <-chan Size // of the terminal, the first at once; nil if there is none
}

// Size is that of a terminal, in characters.
type Size struct{ Rows, Columns int }

// Path is a file or directory in a container.
type Path struct{ Pod, Container, Path string }

// Volume is a named volume.
type Volume struct {
	Name string `json:"name"`
	Node string `json:"node"` // has its files
	Pod  string `json:"pod"`  // that uses it; "" if none does
}
