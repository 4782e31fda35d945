package drill

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// VitalsFile is where an agent with points tells once a second what it uses that can't be seen from outside.
const VitalsFile = "vitals.json"

// Vitals are what an agent's process uses.
type Vitals struct {
	PID        int    `json:"pid"` // in its own namespace
	Goroutines int    `json:"goroutines"`
	Heap       uint64 `json:"heap_bytes"` // that is reachable, or not collected yet
}

// Tell writes the vitals until ctx ends. It returns at once without points.
func (p *Points) Tell(ctx context.Context) {
	if p == nil {
		return
	}
	path := filepath.Join(p.dir, VitalsFile)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := tell(path); err != nil {
			p.log.Error("telling the vitals", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func tell(path string) error {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	text, err := json.Marshal(Vitals{PID: os.Getpid(), Goroutines: runtime.NumGoroutine(), Heap: memory.HeapAlloc})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
