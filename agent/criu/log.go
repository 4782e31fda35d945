package criu

import (
	"bufio"
	"io"
	"os"
	"regexp"
	"strings"
)

// DecisiveError is the line of a CRIU log that says why it failed, or "". CRIU logs the cause first and then what follows
// from it, so this is the first error that is neither harmless nor a mere consequence.
func DecisiveError(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	// As criu/include/log.h writes them: (00.012345)  pid: Error (criu/file.c:123): what happened
	line := regexp.MustCompile(`^(?:\([0-9.]+\)\s+)?(?:\d+: )?Error \(([^)]*)\): (.*)$`)
	missing := regexp.MustCompile(`No \S+\.img image$`)
	consequence, absent := "", ""
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		match := line.FindStringSubmatch(scanner.Text())
		if match == nil {
			if which := missing.FindString(scanner.Text()); which != "" { // many are optional
				absent = which
			}
			continue
		}
		reason := strings.TrimSpace(match[2]) + " (" + match[1] + ")"
		if strings.Contains(match[2], "(empty-image)") && absent != "" {
			reason = absent + ": " + reason
		}
		switch {
		case matches(match[2], harmless()):
		case matches(match[2], consequences()):
			if consequence == "" {
				consequence = reason
			}
		default:
			return reason
		}
	}
	return consequence
}

// harmless are errors that CRIU logs and then goes on. The last is of a deleted file of an overlay's lower layer, which it
// then takes along as a whole.
func harmless() []string {
	return []string{"Can't setup RLIMIT_NOFILE", "Can't get a lock on the kdat cache", "trim failed: @"}
}

// consequences are errors that only say that something else has failed.
func consequences() []string {
	return []string{
		"Dumping FAILED", "Restoring FAILED", "Pre dump script failed", "Post dump script", "One of more action scripts failed",
		"Aborting restore due to", "RPC client reported script error", "Can't read request", "Can't send response", "exited, status", "killed by signal",
		"Killing processes because of failure", "Script ",
	}
}

// lastLine is the last whole line of a text file, "" if it can't be read.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const tail = 1 << 10
	if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
		_, _ = f.Seek(0, io.SeekStart)
	}
	data, _ := io.ReadAll(io.LimitReader(f, tail))
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) > 1 {
		return lines[len(lines)-2]
	}
	return lines[0]
}

func matches(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
