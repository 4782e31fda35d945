package quorum

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func TestRoster(t *testing.T) {
	m := state.New()
	for node, server := range map[string]bool{"a": true, "b": true, "old": false, "plain": false, "new": true, "gone": true} {
		m.Apply(register(node, server))
	}
	m.Apply(state.ForgetNode{Name: "gone"})
	r := newRoster()
	for node, i := range map[string]intent{"plain": leave, "b": leave, "new": enter, "old": vote, "lost": restart, "a": restart, "gone": enter} {
		r.hear(node, i)
	}
	r.answers("lost", false)
	has := members{[]string{"a", "b", "old", "plain", "lost", "gone"}, nil}
	a := r.agenda("a", m.View(), has, terms{lately: time.Minute})
	require.Equal(t, map[string]intent{"new": enter}, a.in, "only those that are registered as servers")
	require.Equal(t, map[string]string{
		"plain": "it is a plain node now",
		"lost":  "it has lost its log",
		"gone":  "it was removed from the mesh",
	}, a.out, "not a server of an older version, which doesn't say that it is one, nor one that is registered as one, nor one that answers")

	a = r.agenda("a", m.View(), has, terms{})
	require.Empty(t, a.in, "nobody has said so lately")
	require.Equal(t, map[string]string{"gone": "it was removed from the mesh"}, a.out)
	require.Empty(t, r.intents)
}

func TestAgenda(t *testing.T) {
	abc, abcd := members{voters: []string{"a", "b", "c"}}, members{voters: []string{"a", "b", "c", "d"}}
	abcde, b := members{voters: []string{"a", "b", "c", "d", "e"}}, map[string]string{"b": "x"}
	for name, c := range map[string]struct {
		a    agenda
		want step
		held bool
	}{
		"nothing":                  {agenda{members: abc}, step{}, false},
		"one enters":               {agenda{members: abc, in: map[string]intent{"d": enter}}, step{add, "d", ""}, false},
		"it has caught up at once": {agenda{members: abc, in: map[string]intent{"d": vote}}, step{add, "d", ""}, false},
		"not yet":                  {agenda{members: members{abc.voters, []string{"d"}}, in: map[string]intent{"d": enter}}, step{}, false},
		"it gets a vote":           {agenda{members: members{abc.voters, []string{"d"}}, in: map[string]intent{"d": vote}}, step{promote, "d", ""}, false},
		"it has one":               {agenda{members: abc, in: map[string]intent{"c": vote}}, step{}, false},
		"one goes":                 {agenda{members: abc, out: map[string]string{"b": "x"}}, step{remove, "b", "x"}, false},
		"first out, then in":       {agenda{members: abc, out: map[string]string{"b": "x"}, in: map[string]intent{"d": enter}}, step{remove, "b", "x"}, false},
		"a stranger can't go":      {agenda{members: abc, out: map[string]string{"d": "x"}}, step{}, false},
		"nor come meanwhile":       {agenda{members: abc, out: map[string]string{"d": "x"}, in: map[string]intent{"d": enter}}, step{}, false},
		"the dead one goes":        {agenda{members: abc, out: map[string]string{"b": "x"}, down: map[string]bool{"b": true}}, step{remove, "b", "x"}, false},
		"not one of the last two":  {agenda{members: abc, out: map[string]string{"b": "x"}, down: map[string]bool{"c": true}}, step{}, true},
		"but others come":          {agenda{members: abc, out: map[string]string{"b": "x"}, down: map[string]bool{"c": true}, in: map[string]intent{"d": enter}}, step{add, "d", ""}, true},
		"the dead one before":      {agenda{members: abc, out: map[string]string{"b": "x", "c": "x"}, down: map[string]bool{"c": true}}, step{remove, "c", "x"}, false},
		"one without a vote goes":  {agenda{members: members{abc.voters, []string{"d"}}, out: map[string]string{"d": "x"}, down: map[string]bool{"b": true, "c": true}}, step{remove, "d", "x"}, false},
		"the leader":               {agenda{members: abc, out: map[string]string{"a": "x"}}, step{yield, "a", "x"}, false},
		"the leader last":          {agenda{members: abc, out: map[string]string{"a": "x", "b": "x"}}, step{remove, "b", "x"}, false},
		"the last":                 {agenda{members: members{voters: []string{"a"}}, out: map[string]string{"a": "x"}}, step{}, true},
		"a dead one of four":       {agenda{members: abcd, dead: b, down: map[string]bool{"b": true}}, step{remove, "b", "x"}, false},
		"not of three":             {agenda{members: abc, dead: b, down: map[string]bool{"b": true}}, step{}, true},
		"one after the other":      {agenda{members: abcde, dead: map[string]string{"b": "x", "c": "y"}, down: map[string]bool{"b": true, "c": true}}, step{remove, "b", "x"}, false},
		"nor with too few":         {agenda{members: abcd, dead: b, down: map[string]bool{"b": true, "c": true, "d": true}}, step{}, true},
		"first the other in":       {agenda{members: members{abc.voters, []string{"d"}}, dead: b, down: map[string]bool{"b": true}, in: map[string]intent{"d": vote}}, step{promote, "d", ""}, false},
		"dead before it voted":     {agenda{members: members{abc.voters, []string{"d"}}, dead: map[string]string{"d": "x"}, down: map[string]bool{"d": true}}, step{remove, "d", "x"}, false},
		"dead and gone":            {agenda{members: abc, dead: map[string]string{"x": "x"}}, step{}, false},
		"one of two":               {agenda{members: members{voters: []string{"a", "b"}}, out: map[string]string{"b": "x"}}, step{remove, "b", "x"}, false},
	} {
		c.a.self = "a"
		got, held := c.a.next()
		if c.want.why == "" {
			got.why = ""
		}
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.held, held != "", fmt.Sprint(name, ": ", held))
	}
}
