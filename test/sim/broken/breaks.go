package broken

import "strings"

// A Break is a rule, and what the sources must become for it not to hold.
type Break struct {
	Rule  string
	Edits []Edit
}

// An Edit replaces a text that stands in a file exactly once.
type Edit struct {
	File     string // from the root of the repository, with slashes
	Old, New string
}

// Breaks lists all, in the order in which they are told.
func Breaks() []Break {
	return []Break{
		{"double activation", []Edit{{
			"state/activate.go",
			"	case Reserved:\n",
			"	case Reserved, Aborted:\n",
		}}},
		{"thaw on unknown", []Edit{{
			"agent/migrate/decide/source.go",
			"	case Unknown:\n",
			"	case Unknown:\n		if s.part == asking && s.has(Freeze) {\n			s.end(Thaw, Stayed)\n			break\n		}\n",
		}}},
		{"thaw by a read", []Edit{{
			"agent/migrate/decide/settle.go",
			"	s.part = asking\n	s.ask(s.move.abort(s.why))\n",
			"	if s.has(Freeze) && s.seen.Pod != nil && s.seen.Pod.Node == s.move.Source {\n		s.emit(Do{Thaw})\n	}\n	s.part = asking\n	s.ask(s.move.abort(s.why))\n",
		}}},
		{"lease ignored", []Edit{{
			"state/lease.go",
			"	return max(0, l.Duration-max(byBoot, byWall))\n",
			"	return l.Duration\n",
		}}},
		{"fence without agent", []Edit{{
			"agent/fence/guard.go",
			"	g.follow(now)\n	valid := g.lease.valid(now)\n",
			"	g.follow(now)\n	valid := true // it waits for somebody to tell it\n",
		}}},
		{"journal skipped", []Edit{{
			"agent/migrate/decide/source.go",
			"	s.record(s.step())\n	if s.step() == Restore {\n",
			"	if s.step() == Freeze {\n		s.do(Freeze)\n		return\n	}\n	s.record(s.step())\n	if s.step() == Restore {\n",
		}}},
		{"epoch reused", []Edit{{
			"state/return.go",
			"pod.Node, pod.Epoch, pod.Migration = g.Source, g.Epoch+1, \"\"",
			"pod.Node, pod.Epoch, pod.Migration = g.Source, g.Epoch, \"\"",
		}}},
		{"retire before running", []Edit{{
			"agent/migrate/decide/fate.go",
			"	case phase(r).Open():\n		return undecided, \"\"\n",
			"	case phase(r) == state.Reserved:\n		return undecided, \"\"\n	case phase(r) == state.Activated:\n		return retired, \"\"\n",
		}}},
		{"take-over without waiting", []Edit{{
			"state/lease.go",
			"return lease + drift(lease) + FenceBound }",
			"return lease / 2 }",
		}}},
	}
}

// Find returns the break of a rule, whose words may be joined by dashes.
func Find(rule string) (Break, bool) {
	plain := func(s string) string { return strings.ReplaceAll(s, "-", " ") }
	for _, b := range Breaks() {
		if plain(b.Rule) == plain(rule) {
			return b, true
		}
	}
	return Break{}, false
}
