package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// usualWidth is that of a terminal that doesn't tell.
const usualWidth = 80

// screen shows lines that stay and, on a terminal, one below them that is written over.
type screen struct {
	out   io.Writer
	width func() int // of the terminal, in columns; nil if out is none: then nothing is written over
	live  bool       // the last line is to be written over
}

// line writes a line that stays. A terminal wraps it as it does any text.
func (s *screen) line(format string, args ...any) {
	s.clear()
	fmt.Fprintln(s.out, printable(strings.TrimRight(fmt.Sprintf(format, args...), " "), '\n'))
}

// overwrite shows a line in place of the one that was shown before, if out is a terminal. It is cut to fit: of a line that
// wraps only the last part could be written over, and one that fills the last column wraps on some terminals.
func (s *screen) overwrite(text string) {
	if s.width == nil {
		return
	}
	s.clear()
	if text = cut(printable(text, ' '), s.width()-1); text == "" {
		return
	}
	fmt.Fprint(s.out, text)
	s.live = true
}

// clear removes the line that is written over: carriage return and ECMA-48's erase in line.
func (s *screen) clear() {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.live = false
	}
}

// cut is a text of that many columns at most, with an ellipsis if it was longer.
func cut(text string, columns int) string {
	runes := []rune(text)
	switch {
	case len(runes) <= columns:
		return text
	case columns <= 0:
		return ""
	}
	return strings.TrimRight(string(runes[:columns-1]), " ") + "…"
}

// printable is a text whose control characters, with which a note from another host could move the cursor, are spaces;
// line ends are newline.
func printable(text string, newline rune) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return newline
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, text)
}

// widthOf asks for the width of the terminal that f is, each time anew as it can change; nil if f is none, or one that
// can't erase.
func widthOf(f *os.File) func() int {
	if !isTerminal(f) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return func() int {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col == 0 {
			return usualWidth
		}
		return int(size.Col)
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
