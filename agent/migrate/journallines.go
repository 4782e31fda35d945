package migrate

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Journals of version 1 are JSON lines, the header first, then an Entry a line. They are read, so that an agent of a new
// version takes up the moves of one before it, and written anew as journals of today.

// isLines tells a journal of version 1. Of a later one no file is ever empty.
func isLines(content []byte) bool { return len(content) == 0 || content[0] == '{' }

// decodeLines reads a journal of version 1. A last line that is not whole is a step that had not begun; without a whole
// first line the move had not.
func (j *Journal) decodeLines(content []byte) (whole bool, err error) {
	for n := 1; ; n++ {
		line, rest, ended := bytes.Cut(content, []byte("\n"))
		if !ended {
			return n > 1, nil
		}
		if n == 1 {
			var h header
			err = json.Unmarshal(line, &h)
			j.Role, j.Plan = h.Role, h.Plan
		} else {
			var e Entry
			err = json.Unmarshal(line, &e)
			j.entries = append(j.entries, e)
		}
		if err != nil {
			return false, fmt.Errorf("%w: line %d: %w", errDamaged, n, err)
		}
		content = rest
	}
}
