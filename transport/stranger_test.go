package transport_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/drover-mesh/drover/transport"
)

func TestTheGateLimitsEachAddress(t *testing.T) {
	var g transport.Gate
	now := time.Now()
	guess := func(from string) error {
		err := g.Enter(netip.MustParseAddr(from), now)
		if err == nil {
			g.Leave()
		}
		return err
	}
	for i := range transport.StrangerBurst {
		if err := guess("192.0.2.1"); err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	for _, from := range []string{"192.0.2.1", "::ffff:192.0.2.1"} {
		if guess(from) == nil {
			t.Errorf("%s may try without end", from)
		}
	}
	if err := guess("192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	for i := range transport.StrangerBurst { // addresses of one host
		if err := guess(fmt.Sprintf("2001:db8::%x", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if guess("2001:db8::ffff") == nil {
		t.Error("a host with many addresses may try without end")
	}
	now = now.Add(transport.StrangerEvery)
	if err := guess("192.0.2.1"); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

func TestTheGateIsNotWide(t *testing.T) {
	var g transport.Gate
	from := netip.MustParseAddr("192.0.2.1")
	for range transport.MaxStrangers {
		if err := g.Enter(from, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if g.Enter(netip.MustParseAddr("192.0.2.2"), time.Now()) == nil {
		t.Error("one more came in")
	}
	g.Leave()
	if err := g.Enter(from, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestTheGateRemembersABoundedNumberOfAddresses(t *testing.T) {
	var g transport.Gate
	now := time.Now()
	enter := func(i int) error {
		err := g.Enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
		if err == nil {
			g.Leave()
		}
		return err
	}
	for i := range transport.MaxStrangerAddresses {
		if err := enter(i); err != nil {
			t.Fatal(err)
		}
	}
	if enter(1<<20) == nil {
		t.Error("one more is remembered")
	}
	now = now.Add(time.Minute)
	if err := enter(1 << 20); err != nil {
		t.Errorf("when the others are forgotten: %v", err)
	}
}
