package state

import (
	"encoding/json"
	"net/netip"
	"time"
)

// A Pod is a placed workload and, in Node and Epoch, the answer to the one question that matters: who may
// run it.
type Pod struct {
	Name string `json:"name"`
	// UID is unique for ever; a pod that is removed and made again under its name has another.
	UID string `json:"uid"`
	// Manifest is the Kubernetes v1 Pod as its owner gave it, in compact JSON. Nobody may modify the bytes.
	Manifest json.RawMessage `json:"manifest"`
	// Containers are the manifest's: first those that run once before the others, in its order, then the others.
	Containers []Container `json:"containers"`
	Needs      Needs       `json:"needs"`
	// Addr is the pod's address at every site, for its whole life.
	Addr netip.Addr `json:"addr"`
	// Node owns the pod: it alone may run it, and only at Epoch.
	Node string `json:"node"`
	// Epoch begins at 1 and grows with every change of owner.
	Epoch uint64 `json:"epoch"`
	// Migration is the ID of the open migration, or "".
	Migration string `json:"migration,omitempty"`
	// DrainedFrom is the node that it left because that was cordoned, "" if none.
	DrainedFrom string `json:"drainedFrom,omitempty"`
	// Deleting says that the pod shall be removed; its owner does that, then proposes DeletePod.
	Deleting bool `json:"deleting,omitempty"`
	// Stopped says that none of its containers shall run until it is started again.
	Stopped bool `json:"stopped,omitempty"`
	// Failover says what becomes of it when its node is lost.
	Failover FailoverPolicy `json:"failover,omitempty"`
	// Origin says how its present life began, nil if with its creation.
	Origin  *Origin   `json:"origin,omitempty"`
	Created time.Time `json:"created"`
}

// A CreatePod places a new pod on a node, at epoch 1, and gives it the lowest free address of the pod
// CIDR. A node that is cordoned or has no room for what the pod requests is refused. Twice with the same name and UID is
// once.
type CreatePod struct {
	Name     string          `json:"name"`
	UID      string          `json:"uid"`
	Manifest json.RawMessage `json:"manifest"`
	// Containers and Needs say what Manifest comes to: this package doesn't read it.
	Containers []Container `json:"containers"`
	Needs      Needs       `json:"needs"`
	Node       string      `json:"node"`
	// Created is the proposer's time: the machine has no clock.
	Created time.Time `json:"created"`
	// Failover says what becomes of the pod when its node is lost. A pod that can't leave its node has no policy.
	Failover FailoverPolicy `json:"failover,omitempty"`
}
