package state

// Outcomes is how many proposals the machine remembers, the latest ones.
const Outcomes = 1024

// outcome is what a proposal came to.
type outcome struct {
	ID        string `json:"id"`
	OK        bool   `json:"ok"`
	Reason    string `json:"reason,omitempty"`
	UID       string `json:"uid,omitempty"` // of the pod: by then another may have its name
	Migration string `json:"migration,omitempty"`
	Cure      string `json:"cure,omitempty"`
	Node      string `json:"node,omitempty"` // of the enrolment
}

// ApplyOnce carries out a proposal that may be delivered several times: whoever proposes and hears nothing
// proposes again under the same ID, and a delayed first copy may come after the second. Among the latest
// [Outcomes] proposals each is applied once, and a duplicate gets the same OK and Reason, with the records
// as they are by then.
//
// Commands about one migration stand a duplicate by themselves, at any distance; this also keeps a late
// CreatePod from bringing back a pod that was removed meanwhile, and the like.
func (m *Machine) ApplyOnce(id string, c Command) Result {
	if o, ok := m.seen[id]; ok {
		m.t.index++
		pod, _ := m.podByUID(o.UID)
		r := m.won(pod.Name, o.Migration)
		r.OK, r.Reason, r.Cure = o.OK, o.Reason, o.Cure
		r.Enrolment = m.enrolled(o.Node).Enrolment
		return r
	}
	r := m.Apply(c)
	o := outcome{ID: id, OK: r.OK, Reason: r.Reason, Cure: r.Cure}
	if r.Pod != nil {
		o.UID = r.Pod.UID
	}
	if r.Migration != nil {
		o.Migration = r.Migration.ID
	}
	if r.Enrolment != nil {
		o.Node = r.Enrolment.Node
	}
	m.remember(o)
	return r
}

func (m *Machine) remember(o outcome) {
	m.seen[o.ID] = o
	m.t.outcomes = append(m.t.outcomes, o)
	if len(m.t.outcomes) > Outcomes {
		delete(m.seen, m.t.outcomes[0].ID)
		m.t.outcomes = m.t.outcomes[1:]
	}
}
