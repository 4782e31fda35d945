package state

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Version of the snapshot format; a reader refuses any other.
const snapshotVersion = 1

// snapshot is the whole state as it is written, sorted so that equal states are equal bytes.
type snapshot struct {
	Version      int           `json:"version"`
	Index        uint64        `json:"index"`
	PodCIDR      netip.Prefix  `json:"podCIDR"`
	MeshID       string        `json:"meshID,omitempty"`
	Reign        Reign         `json:"reign,omitzero"`
	LongestLease time.Duration `json:"longestLease,omitempty"`
	Nodes        []Node        `json:"nodes"`
	Pods         []Pod         `json:"pods"`
	Migrations   []Migration   `json:"migrations"`
	Volumes      []Volume      `json:"volumes"`
	Tokens       []Token       `json:"tokens"`
	Enrolments   []Enrolment   `json:"enrolments"`
	Finished     []string      `json:"finished"`
	Outcomes     []outcome     `json:"outcomes"`
}

// Snapshot writes the whole state, see [Machine.Restore].
func (m *Machine) Snapshot(w io.Writer) error { return m.View().Snapshot(w) }

// Snapshot writes the whole state of the moment, for [Machine.Restore]. Equal states are equal bytes.
func (v View) Snapshot(w io.Writer) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(snapshot{
		Version: snapshotVersion, Index: v.t.index, PodCIDR: v.t.podCIDR, MeshID: v.t.meshID,
		Reign: v.t.reign, LongestLease: v.t.longestLease,
		Nodes: v.Nodes(), Pods: v.Pods(), Migrations: v.Migrations(),
		Volumes: v.Volumes(), Tokens: v.Tokens(), Enrolments: sorted(v.t.enrolments),
		Finished: v.t.finished, Outcomes: v.t.outcomes,
	})
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing a snapshot of the state: %w", err)
	}
	return nil
}

// Restore replaces the whole state by a snapshot. On an error nothing has changed.
func (m *Machine) Restore(r io.Reader) error {
	var s snapshot
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return fmt.Errorf("reading a snapshot of the state: %w", err)
	}
	if s.Version != snapshotVersion {
		return fmt.Errorf("reading a snapshot of the state: it has version %d, this agent knows %d", s.Version, snapshotVersion)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("reading a snapshot of the state: something follows it")
	}
	fresh := New()
	fresh.t.index, fresh.t.meshID, fresh.t.podCIDR, fresh.t.finished = s.Index, s.MeshID, s.PodCIDR, s.Finished
	fresh.t.reign, fresh.t.longestLease = s.Reign, s.LongestLease
	for _, n := range s.Nodes {
		fresh.putNode(n)
	}
	for _, p := range s.Pods {
		fresh.putPod(p)
	}
	for _, g := range s.Migrations {
		fresh.putMigration(g)
	}
	for _, x := range s.Volumes {
		fresh.putVolume(x)
	}
	for _, t := range s.Tokens {
		fresh.putToken(t)
	}
	for _, e := range s.Enrolments {
		fresh.putEnrolment(e)
	}
	for _, o := range s.Outcomes {
		fresh.remember(o)
	}
	*m = *fresh
	return nil
}
