package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Kind implements [Command].
func (CreatePod) Kind() Kind { return KindCreatePod }

func (c CreatePod) apply(m *Machine) Result {
	if reason := c.refusal(m); reason != "" {
		return refused("%s", reason)
	}
	if pod, ok := m.t.pods[c.Name]; ok {
		if pod.UID == c.UID {
			return m.won(c.Name, "")
		}
		return m.lost(c.Name, "", "there is a pod %s already, at %s: remove it first or choose another name", c.Name, pod.Node)
	}
	if pod, ok := m.podByUID(c.UID); ok {
		return m.lost(pod.Name, "", "pod %s has the UID %s already", pod.Name, c.UID)
	}
	if reason := m.closed(c.Node, c.UID, c.Needs); reason != "" {
		return refused("%s", reason)
	}
	manifest, err := compactObject(c.Manifest)
	if err != nil {
		return refused("the manifest of pod %s is not a JSON object: %v", c.Name, err)
	}
	containers, err := compactContainers(c.Containers)
	if err != nil {
		return refused("pod %s: %v", c.Name, err)
	}
	addr, ok := m.freeAddress()
	if !ok {
		return refused("no address is left in the pod CIDR %s for pod %s", m.t.podCIDR, c.Name)
	}
	if reason := m.checkVolumes(c.Name, c.Needs, c.Node); reason != "" {
		return refused("%s", reason)
	}
	pod := Pod{
		Name: c.Name, UID: c.UID, Manifest: manifest, Containers: containers, Needs: c.Needs, Addr: addr,
		Node: c.Node, Epoch: 1, Failover: c.Failover, Created: c.created(),
	}
	m.putPod(pod)
	m.placeVolumes(pod)
	return m.won(c.Name, "")
}

// refusal says what is wrong with the command itself, or with the mesh that it would run in.
func (c CreatePod) refusal(m *Machine) string {
	if reason := checkName("name of the pod", c.Name); reason != "" {
		return reason
	}
	if reason := checkName("UID of pod "+c.Name, c.UID); reason != "" {
		return reason
	}
	if reason := checkContainers(c.Name, c.Containers); reason != "" {
		return reason
	}
	if reason := c.Needs.refusal(); reason != "" {
		return "pod " + c.Name + ": " + reason
	}
	switch {
	case c.Failover != FailoverNone && c.Failover != FailoverRestart:
		return fmt.Sprintf("pod %s: the failover policy %.40q is not known: it may be %q", c.Name, string(c.Failover), FailoverRestart)
	case c.Failover != FailoverNone && c.Needs.Pinned != "":
		return fmt.Sprintf("pod %s has the failover policy %s, and can't leave its node: %s", c.Name, c.Failover, c.Needs.Pinned)
	}
	if _, ok := m.t.nodes[c.Node]; !ok {
		return unknownNode(c.Node)
	}
	if !m.t.podCIDR.IsValid() {
		return "the mesh has no pod CIDR yet: is an agent with podCIDR in its configuration running?"
	}
	// JSON has no other years, and what can't be written down can't be kept.
	if year := c.created().Year(); year < 0 || year > 9999 {
		return "the time of creation of pod " + c.Name + " is not within the years 0 to 9999"
	}
	return ""
}

// created has neither zone nor monotonic reading: every server must hold the same value.
func (c CreatePod) created() time.Time { return c.Created.Round(0).UTC() }

func compactObject(raw json.RawMessage) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
