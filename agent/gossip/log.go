package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// logWriter turns memberlist's lines, such as "[WARN] memberlist: Refuting a suspect message (from: ams)", into records.
type logWriter struct {
	log      *slog.Logger
	complain *complaints
}

// Write logs one line.
func (w *logWriter) Write(p []byte) (int, error) {
	level, line := cutLevel(string(bytes.TrimSpace(p)))
	line = strings.TrimPrefix(line, "memberlist: ")
	switch {
	case strings.HasPrefix(line, "Conflicting address for "):
		level = slog.LevelDebug // complaints.conflict says it better
	case isWrongKey(line) && strings.Contains(line, "from="):
		_, from, _ := strings.Cut(line, "from=")
		w.complain.wrongKey(from)
		level = slog.LevelDebug
	}
	w.log.Log(context.Background(), level, line, "part", "memberlist")
	return len(p), nil
}

// cutLevel takes memberlist's level off a line. Its errors are other nodes' and the network's, which it gets over:
// warnings.
func cutLevel(line string) (slog.Level, string) {
	for _, l := range []struct {
		prefix string
		level  slog.Level
	}{
		{"[DEBUG] ", slog.LevelDebug},
		{"[INFO] ", slog.LevelInfo},
		{"[WARN] ", slog.LevelWarn},
		{"[ERR] ", slog.LevelWarn},
		{"[ERROR] ", slog.LevelWarn},
	} {
		if rest, ok := strings.CutPrefix(line, l.prefix); ok {
			return l.level, rest
		}
	}
	return slog.LevelInfo, line
}

// isWrongKey recognises what memberlist says of a message that it can't decrypt (security.go, decryptPayload), or that
// isn't encrypted at all (net.go).
func isWrongKey(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "no installed keys could decrypt") ||
		strings.Contains(text, "encryption is configured but remote state is not encrypted") ||
		strings.Contains(text, "decrypt packet failed")
}

// quietTime is how long a complaint isn't repeated.
const quietTime = time.Minute

// complaints are log lines that would come with every packet: each is said once a minute.
type complaints struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time
}

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, said: make(map[string]time.Time)}
}

// due says whether a complaint is to be made now.
func (c *complaints) due(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for k, t := range c.said {
		if now.Sub(t) > quietTime {
			delete(c.said, k)
		}
	}
	if _, ok := c.said[key]; ok {
		return false
	}
	c.said[key] = now
	return true
}

func (c *complaints) wrongKey(from string) {
	host := from
	if addr, err := netip.ParseAddrPort(from); err == nil {
		host = addr.Addr().String() // its port changes
	}
	if c.due("key " + host) {
		c.log.Warn("refused a node that gossips with another key: it is of another mesh, or its gossip.key is old", "from", host)
	}
}

func (c *complaints) join(addr netip.AddrPort, err error) {
	if isWrongKey(err.Error()) {
		if c.due("join " + addr.String()) {
			c.log.Warn("could not join: the peer gossips with another key; copy gossip.key of this mesh to both nodes", "peer", addr.String())
		}
		return
	}
	if c.due("join " + addr.String()) {
		c.log.Warn("could not join: trying again", "peer", addr.String(), "error", err)
	}
}

func (c *complaints) conflict(self string, existing, other *memberlist.Node) {
	a, b := addrPort(existing).String(), addrPort(other).String()
	if !c.due("conflict " + existing.Name + a + b) {
		return
	}
	if existing.Name == self {
		c.log.Error("another node has this node's name: give one of them another, and a certificate for it", "node", self, "here", a, "there", b)
		return
	}
	c.log.Error("two nodes have one name: the second is ignored", "node", existing.Name, "first", a, "second", b)
}
