package transport_test

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// ours matches the stacks that no test may leave behind. Timers' and the runtime's don't match.
var ours = regexp.MustCompile(`drover/transport\.|drover/transport_test\.|quic-go/quic-go`)

// strays returns the stacks of goroutines of ours that run beside the caller's and are not in known.
func strays(known map[string]bool) map[string]string {
	buffer := make([]byte, 8<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	found := map[string]string{}
	for i, stack := range strings.Split(string(buffer), "\n\n") {
		id, _, _ := strings.Cut(stack, " [")
		if i > 0 && ours.MatchString(stack) && !strings.Contains(stack, "testing.(*T).Run(") && !known[id] {
			found[id] = stack
		}
	}
	return found
}

// noStrays fails the test if a goroutine that began during it is there two seconds after it ended. It must
// be called before the test registers what ends its goroutines.
func noStrays(t testing.TB) {
	known := map[string]bool{}
	for id := range strays(nil) {
		known[id] = true
	}
	t.Cleanup(func() {
		if err := awaitNoStrays(known, 2*time.Second); err != nil {
			t.Error(err)
		}
	})
}

// awaitNoStrays polls, since the runtime tells nobody when a goroutine ends.
func awaitNoStrays(known map[string]bool, patience time.Duration) error {
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left := strays(known)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, stack := range left {
				return fmt.Errorf("%d goroutines are left, one of them is\n%s", len(left), stack)
			}
		}
	}
}

func TestStrayGoroutinesAreFound(t *testing.T) {
	noStrays(t)
	stop := make(chan struct{})
	go func() { <-stop }()
	if awaitNoStrays(nil, 20*time.Millisecond) == nil {
		t.Error("a goroutine of a test was left and not found")
	}
	close(stop)

	m := newMesh(t, "ams")
	before := map[string]bool{}
	for id := range strays(nil) {
		before[id] = true
	}
	tr := m.start(m.config("ams"))
	if err := awaitNoStrays(before, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "quic-go") && !strings.Contains(err.Error(), "acceptConnections") {
		t.Errorf("an open transport was not found: %v", err)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if err := awaitNoStrays(before, 2*time.Second); err != nil {
		t.Error(err)
	}
}
