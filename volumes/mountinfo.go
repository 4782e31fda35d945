package volumes

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A mountPoint is one line of /proc/self/mountinfo (Documentation/filesystems/proc.rst, 3.5).
type mountPoint struct {
	point   string
	fsType  string
	options string // of the file system, as mangled by the kernel
}

// option returns the value of an option of the file system, or "".
func (m mountPoint) option(name string) string {
	for option := range strings.SplitSeq(m.options, ",") {
		if value, ok := strings.CutPrefix(option, name+"="); ok {
			return unescapeMount(value)
		}
	}
	return ""
}

// isUpper says if an overlay writes to upper. Some kernels show the path as it was given, escapes and all.
func (m mountPoint) isUpper(upper string) bool {
	shown := m.option("upperdir")
	return shown == upper || shown == escapeOption(upper)
}

// mountsBelow returns what is mounted at dir or anywhere below it ("": all there is), in this mount namespace.
func mountsBelow(dir string) ([]mountPoint, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	var found []mountPoint
	for line := range strings.Lines(string(content)) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 2 {
			return nil, fmt.Errorf("listing mounts: line %q is not understood", line)
		}
		point := unescapeMount(left[4])
		if point != dir && !strings.HasPrefix(point, dir+"/") {
			continue
		}
		found = append(found, mountPoint{point: point, fsType: right[0], options: right[len(right)-1]})
	}
	return found, nil
}

// unescapeMount undoes the kernel's mangling of blanks and backslashes (fs/seq_file.c, mangle_path).
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if code, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
