// Package configs reads the configuration of an agent, strictly: whatever it doesn't know or can't accept is an error
// that shows the line and says what would be valid.
package configs

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Config is the configuration of an agent; agent.example.yaml explains each field. The tag want says what is valid, for
// error messages.
type Config struct {
	Node    string           `yaml:"node" want:"a name of at most 63 lower-case letters, digits and '-', such as ams"`
	Site    string           `yaml:"site" want:"a name of at most 63 lower-case letters, digits and '-', such as amsterdam"`
	Address netip.AddrPort   `yaml:"address" want:"the IP address and UDP port that peers reach, such as 10.77.1.1:7400"`
	Gossip  netip.AddrPort   `yaml:"gossip" want:"the IP address and port that peers reach, such as 10.77.1.1:7946"`
	Join    []netip.AddrPort `yaml:"join" want:"gossip addresses of peers, such as [10.77.2.1:7946]"`
	Role    Role             `yaml:"role" want:"server or plain"`
	Servers []string         `yaml:"servers" want:"names of the servers with which a new mesh begins, the same list on each, such as [ams, fra, nyc]; or role, in a mesh that is there"`
	// DeadServerAfter is quorum.Config's DeadAfter.
	DeadServerAfter Duration `yaml:"deadServerAfter" want:"a duration of a minute or more, such as 10m; \"\" is never"`
	// Lease is quorum.Config's Lease.
	Lease Duration `yaml:"lease" want:"a duration from 2s to 1m, such as 6s"`

	PodCIDR netip.Prefix `yaml:"podCIDR" want:"an IPv4 network of /8 to /28, such as 10.88.0.0/16"`
	Overlay Overlay      `yaml:"overlay"`

	Labels map[string]string `yaml:"labels" want:"names and values of at most 63 letters, digits, '-', '_' and '.', such as disk: ssd"`

	Identity     string `yaml:"identity" want:"the absolute path of a directory"`
	StateDir     string `yaml:"stateDir" want:"the absolute path of a directory"`
	RunDir       string `yaml:"runDir" want:"the absolute path of a directory"`
	Socket       string `yaml:"socket" want:"an absolute path of at most 107 bytes"`
	CgroupDriver string `yaml:"cgroupDriver" want:"cgroupfs or systemd"`
	CgroupParent string `yaml:"cgroupParent" want:"an absolute cgroup path such as /drover, for the driver systemd the path of a slice such as /drover.slice"`

	Registries Registries `yaml:"registries"`

	BulkRate Rate `yaml:"bulkRate" want:"a rate such as 800kbit, 100mbit or 2.5gbit; \"\" is unlimited"`
	Log      Log  `yaml:"log"`

	// Drill is the directory of the points at which the agent stops, see package drill. It is for labs and drills, and
	// stands in no list of fields.
	Drill string `yaml:"drill" want:"the absolute path of a directory that is root's" hidden:"true"`
}

// A Role is what a node has to do with the agreement of the mesh.
type Role string

// The roles of a node.
const (
	Server Role = "server" // keeps the log, and votes
	Plain  Role = "plain"  // asks the servers
)

// The drivers of control groups, as other container engines call them.
const (
	Cgroupfs = "cgroupfs" // the agent makes directories
	Systemd  = "systemd"  // the agent asks systemd for slices and scopes
)

// Overlay is the VXLAN that carries the pods' packets between nodes, over the IP of Config.Address. It must be the same on each node.
type Overlay struct {
	VNI  uint32 `yaml:"vni" want:"a number from 1 to 16777215"`
	Port uint16 `yaml:"port" want:"a UDP port from 1 to 65535"`
}

// Registries says how this node asks registries for images.
type Registries struct {
	AuthFile string   `yaml:"authFile" want:"the absolute path of a file with credentials, as docker login writes it"`
	Insecure []string `yaml:"insecure" want:"registries, with their ports, such as [registry.example.org:5000]"`
}

// IsInsecure says whether a registry may be spoken to in the clear.
func (r Registries) IsInsecure(host string) bool { return slices.Contains(r.Insecure, host) }

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" want:"debug, info, warn or error"`
	Format string `yaml:"format" want:"text or json"`
}

// Default returns the configuration of an empty file: it lacks what only the operator knows.
func Default() Config {
	return Config{
		// A server that is rebooted, firmware and file system check and all, should be back sooner: to let it in anew is
		// harmless, but means work. Until another one fails too, there is no hurry.
		DeadServerAfter: Duration(10 * time.Minute),
		// A pod of a lost host is down for little more than that; one of a host that is cut off for less goes on.
		Lease: Duration(6 * time.Second),

		PodCIDR:      netip.MustParsePrefix("10.88.0.0/16"),
		Overlay:      Overlay{VNI: 4088, Port: 4789},
		Identity:     "/etc/drover/identity",
		StateDir:     "/var/lib/drover",
		RunDir:       "/run/drover",
		CgroupDriver: Cgroupfs,
		Log:          Log{Level: "info", Format: "text"},
	}
}

// Assumed is Default with what follows from it: what holds for a host whose configuration is gone.
func Assumed() Config {
	c := Default()
	c.derive()
	return c
}

// maxFile bounds what is read; a real configuration has some hundred bytes.
const maxFile = 64 << 10

// Load reads and checks the configuration at path. If it is wrong the error is an *Error with everything that is wrong.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(data) > maxFile {
		return Config{}, fmt.Errorf("reading the configuration: %s is larger than %d bytes", path, maxFile)
	}
	return Parse(filepath.Base(path), data)
}

// Parse is Load for a file of that name whose content is data.
func Parse(name string, data []byte) (Config, error) {
	c := Default()
	doc := read(data, &c)
	c.check(doc)
	if len(doc.problems) > 0 {
		return Config{}, newError(name, data, doc.problems)
	}
	c.derive()
	return c, nil
}

// gossipPort is memberlist's own default.
const gossipPort = 7946

// derive fills in what follows from other fields.
func (c *Config) derive() {
	if !c.Gossip.IsValid() && c.Address.IsValid() {
		c.Gossip = netip.AddrPortFrom(c.Address.Addr(), gossipPort)
	}
	if c.Site == "" {
		c.Site = c.Node
	}
	c.Role = c.role()
	c.Socket = c.socket()
	c.CgroupParent = c.cgroupParent()
}

func (c *Config) role() Role {
	switch {
	case c.Role != "":
		return c.Role
	case slices.Contains(c.Servers, c.Node):
		return Server
	}
	return Plain
}

func (c *Config) socket() string { return cmp.Or(c.Socket, filepath.Join(c.RunDir, "agent.sock")) }

func (c *Config) cgroupParent() string {
	if c.CgroupParent == "" && c.CgroupDriver == Systemd {
		return "/drover.slice"
	}
	return cmp.Or(c.CgroupParent, "/drover")
}

// Logger returns a logger that writes to w as l says.
func (l Log) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // checked by Load; otherwise info
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
