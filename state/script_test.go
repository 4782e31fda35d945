package state

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// TestTranscripts plays the stories in testdata. A story is blocks of commands, each followed by "----" and
// by what the machine answered; lines with # are for the reader. After every command the invariants are
// checked. Run with -update to write the answers anew, and read the difference.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newStory(t).play(string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: the machine answers otherwise:\n%s", file, firstDifference(string(want), got))
			}
		})
	}
}

type story struct {
	t       *testing.T
	m       *Machine
	watcher *watcher
}

func newStory(t *testing.T) *story {
	return &story{t: t, m: New(), watcher: newWatcher()}
}

// play returns the text with every answer replaced by that of the machine.
func (s *story) play(text string) string {
	var out strings.Builder
	answer := "" // of the block that is being read
	skipping := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case skipping && line != "":
			continue
		case skipping:
			skipping = false
		case line == "----":
			skipping = true
			out.WriteString("----\n" + answer)
			answer = ""
			continue
		case line != "" && !strings.HasPrefix(line, "#"):
			answer += s.command(line)
			if err := s.watcher.check(s.m.View()); err != nil {
				s.t.Errorf("after %q: %v", line, err)
			}
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

// command carries out one line: verb, subject and key=value pairs. With id=ID it is a proposal that may
// be delivered again.
func (s *story) command(line string) string {
	words := strings.Fields(line)
	verb, name, args := words[0], "", map[string]string{}
	for _, word := range words[1:] {
		if key, value, ok := strings.Cut(word, "="); ok {
			args[key] = strings.ReplaceAll(value, "_", " ")
		} else {
			name = word
		}
	}
	switch verb {
	case "show":
		return show(s.m.View())
	case "duties":
		return duties(s.m.View(), name)
	case "labels":
		return nodeLabels(s.m.View(), name)
	case "owns":
		return fmt.Sprintln(s.m.View().Owns(name, args["uid"], number(s.t, args["epoch"])))
	case "reigns":
		r := s.m.View().Reign()
		return fmt.Sprintf("%s reigns in term %d, leases are %s, and up to %s\n", r.Server, r.Term, r.Lease, s.m.View().LongestLease())
	case "volumes":
		return volumes(s.m.View())
	case "decide":
		return decide(s.m.View(), strings.Split(name, ","))
	case "restart":
		return s.restart()
	}
	c := parse(s.t, verb, name, args)
	// Through the codec, as in life.
	id := args["id"]
	data, err := Encode(max(id, "none"), c)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	if _, c, err = Decode(data); err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	if id == "" {
		return answer(s.m.Apply(c))
	}
	return answer(s.m.ApplyOnce(id, c))
}

func (s *story) restart() string {
	var b bytes.Buffer
	if err := s.m.Snapshot(&b); err != nil {
		s.t.Fatal(err)
	}
	s.m = New()
	if err := s.m.Restore(&b); err != nil {
		s.t.Fatal(err)
	}
	return "restarted\n"
}

func parse(t *testing.T, verb, name string, args map[string]string) Command {
	switch verb {
	case "node":
		return RegisterNode{Node{
			Name: name, Site: args["site"], Configured: labels(args),
			Capacity: Resources{CPU: int64(number(t, args["cpu"])), Memory: int64(number(t, args["memory"])) << 20},
		}}
	case "forget":
		return ForgetNode{name, args["pods"] == "delete", time.Unix(2, 0)}
	case "label":
		c := LabelNode{Name: name, Set: labels(args), Overwrite: args["overwrite"] != ""}
		if key := args["remove"]; key != "" {
			c.Remove = []string{key}
		}
		return c
	case "cordon", "uncordon":
		return CordonNode{name, verb == "cordon"}
	case "mesh":
		return SetMesh{PodCIDR: netip.MustParsePrefix(name)}
	case "create":
		return CreatePod{
			Name: name, UID: args["uid"], Node: args["node"], Containers: testContainers, Created: time.Unix(1, 0),
			Manifest: json.RawMessage(`{"kind": "Pod"}`), Needs: needs(t, args), Failover: FailoverPolicy(args["failover"]),
		}
	case "mark":
		return MarkDeleting{name, args["uid"]}
	case "stop", "start":
		return StopPod{name, args["uid"], verb == "stop"}
	case "delete":
		return DeletePod{name, args["uid"]}
	case "reserve":
		return Reserve{name, args["pod"], args["from"], args["to"], number(t, args["epoch"])}
	case "activate":
		return Activate{name, args["node"], number(t, args["epoch"])}
	case "abort":
		return Abort{Migration: name, Reason: args["reason"], UID: args["uid"], Epoch: number(t, args["epoch"])}
	case "return":
		return Return{Migration: name, Node: args["node"], Reason: args["reason"], Ran: args["ran"] == "yes"}
	case "complete":
		return Complete{name, args["node"]}
	case "reign":
		return Reign{Server: name, Term: number(t, args["term"]), Lease: time.Duration(number(t, args["lease"])) * time.Second, Settled: args["settled"] != ""}
	case "failover":
		return Failover{args["uid"], number(t, args["epoch"]), args["from"], args["to"], number(t, args["term"]), time.Unix(3, 0), args["reason"]}
	case "abort-and-failover":
		return AbortAndFailover{
			name, args["uid"], number(t, args["epoch"]), args["from"], args["to"], args["source"] == "lost", number(t, args["term"]), time.Unix(3, 0), args["reason"],
		}
	case "start-over":
		return StartOver{args["uid"], name, number(t, args["epoch"]), time.Unix(3, 0), args["reason"]}
	}
	t.Fatalf("no such command in a transcript: %q", verb)
	return nil
}

// labels are the arguments label.KEY=VALUE.
func labels(args map[string]string) map[string]string {
	all := map[string]string{}
	for key, value := range args {
		if label, ok := strings.CutPrefix(key, "label."); ok {
			all[label] = value
		}
	}
	return all
}

func needs(t *testing.T, args map[string]string) Needs {
	n := Needs{CPU: int64(number(t, args["cpu"])), Memory: int64(number(t, args["memory"])) << 20, Pinned: args["pinned"]}
	if volume := args["volume"]; volume != "" {
		n.Volumes = []string{volume}
	}
	return n
}

// on is a container whose root file system stands on those layers.
func on(layers ...Digest) []Container {
	return []Container{{Name: "main", Image: "test", Layers: layers}}
}

var testContainers = on(testImage)

var testImage = Digest("sha256:" + strings.Repeat("0123456789abcdef", 4))

func number(t *testing.T, text string) uint64 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func answer(r Result) string {
	var b strings.Builder
	if r.OK {
		b.WriteString("ok")
	} else {
		b.WriteString("no: " + r.Reason)
	}
	if r.Pod != nil {
		b.WriteString("\n    " + podLine(*r.Pod))
	}
	if r.Migration != nil {
		b.WriteString("\n    " + migrationLine(*r.Migration))
	}
	return b.String() + "\n"
}

func podLine(p Pod) string {
	line := fmt.Sprintf("pod %s (%s, %s) at %s, epoch %d", p.Name, p.UID, p.Addr, p.Node, p.Epoch)
	if p.Migration != "" {
		line += ", moving: " + p.Migration
	}
	if p.DrainedFrom != "" {
		line += ", drained from " + p.DrainedFrom
	}
	if p.Stopped {
		line += ", stopped"
	}
	if p.Deleting {
		line += ", deleting"
	}
	if o := p.Origin; o != nil {
		line += fmt.Sprintf("\n        began anew in epoch %d: %s, lost %s", o.Epoch, o.Kind, o.Lost)
	}
	return line
}

func migrationLine(g Migration) string {
	line := fmt.Sprintf("%s to epoch %d: %s", g, g.Epoch, g.Phase)
	if g.Reason != "" {
		line += ": " + g.Reason
	}
	return line
}

// show has the nodes only if there is something to say of them.
func show(v View) string {
	var b strings.Builder
	for _, n := range v.Nodes() {
		if n.Cordoned {
			fmt.Fprintf(&b, "node %s is cordoned\n", n.Name)
		}
	}
	for _, p := range v.Pods() {
		b.WriteString(podLine(p) + "\n")
	}
	for _, g := range v.Migrations() {
		b.WriteString(migrationLine(g) + "\n")
	}
	return b.String()
}

// nodeLabels leaves out those that every node has.
func nodeLabels(v View, name string) string {
	n, _ := v.Node(name)
	all := n.Labels()
	var words []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if CheckLabel(key, all[key]) == nil {
			words = append(words, key+"="+all[key])
		}
	}
	return strings.Join(words, " ") + "\n"
}

func volumes(v View) string {
	var b strings.Builder
	for _, x := range v.Volumes() {
		fmt.Fprintf(&b, "volume %s of %s at %s\n", x.Name, x.Pod, x.Node)
	}
	return b.String()
}

// decide shows what the leader of the reign would do if those nodes were lost.
func decide(v View, lost []string) string {
	var b strings.Builder
	commands, stranded := Failovers(v, Loss{Nodes: lost, Term: v.Reign().Term})
	for _, c := range commands {
		switch c := c.(type) {
		case Failover:
			fmt.Fprintf(&b, "failover uid=%s epoch=%d from=%s to=%s\n", c.UID, c.Epoch, c.From, c.To)
		case AbortAndFailover:
			fmt.Fprintf(&b, "abort-and-failover %s uid=%s epoch=%d from=%s to=%s", c.Migration, c.UID, c.Epoch, c.From, c.To)
			if c.SourceLost {
				b.WriteString(" source=lost")
			}
			b.WriteString("\n")
		}
	}
	for _, s := range stranded {
		fmt.Fprintf(&b, "stranded %s: %s\n", s.Pod, s.Reason)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func duties(v View, node string) string {
	var b strings.Builder
	for _, d := range v.Duties(node) {
		fmt.Fprintf(&b, "%s %s\n", d.Role, d.Pod.Name)
	}
	if b.Len() == 0 {
		return "none\n"
	}
	return b.String()
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}
