// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"
)

// The tools for groups tell what is so, by the kernel's bridge: a receiver gets
// what it asks for and no more, each sender counted by itself; a witness sees
// also what no socket wants; the copies in a tunnel are told by their way.
func TestGroupTools(t *testing.T) {
	for _, group := range []string{"[ff05::45]:5000", "239.1.2.3:5000"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel() // the time goes by in waiting for the bridge
			to := netip.MustParseAddrPort(group)
			l := NewTest(t, Options{Hosts: 1})
			far, err := l.AddForeign("far", ForeignOptions{VNI: 7, Snooping: true})
			if err != nil {
				t.Fatal(err)
			}
			querier := &BridgeQuerier{Address: netip.MustParsePrefix("10.0.0.254/24"), Interval: time.Second, ResponseInterval: 200 * time.Millisecond,
				LastMember: 100 * time.Millisecond, MLD: 2, IGMP: 3}
			near, err := l.AddForeign("switch", ForeignOptions{VNI: 7, Snooping: true, Remotes: []netip.Addr{far.VTEP}, Querier: querier})
			if err != nil {
				t.Fatal(err)
			}
			if err := far.FloodTo(near.VTEP); err != nil {
				t.Fatal(err)
			}
			var guests []*Guest
			for i := range 4 {
				f := near
				if i == 3 {
					f = far
				}
				g, err := f.AddGuest(fmt.Sprintf("g%d", i+1), GuestOptions{Addresses: []netip.Prefix{
					netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:7::%d/64", i+1))}})
				if err != nil {
					t.Fatal(err)
				}
				guests = append(guests, g)
			}
			var senders []*Sender
			for _, g := range guests[:2] {
				source := g.Options.Addresses[0].Addr()
				if to.Addr().Is6() {
					source = g.Options.Addresses[1].Addr()
				}
				s, err := g.OpenSender(source, to, 100)
				if err != nil {
					t.Fatal(err)
				}
				senders = append(senders, s)
			}
			streams := []Stream{{senders[0].source, to.Addr()}, {senders[1].source, to.Addr()}}
			receiver, err := guests[2].OpenReceiver(to)
			if err != nil {
				t.Fatal(err)
			}
			deaf, err := guests[3].OpenReceiver(to)
			if err != nil {
				t.Fatal(err)
			}
			witness, err := l.Witness(guests[2].Namespace, GuestDevice)
			if err != nil {
				t.Fatal(err)
			}
			wire, err := l.Witness(near.Namespace, Uplink)
			if err != nil {
				t.Fatal(err)
			}
			// wanted tells whether the kernel's bridge sends g3 exactly these.
			wanted := func(want ...bool) {
				t.Helper()
				for i, s := range senders {
					eventually(t, fmt.Sprintf("sender %d: wanted %t", i+1, want[i]), func() bool {
						n, err := s.Send()
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(20 * time.Millisecond)
						return (witness.Received(streams[i])[n] == 1) == want[i] && (receiver.Received(s.source)[n] == 1) == want[i]
					})
				}
			}
			wait := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			a, b := senders[0].source, senders[1].source
			other, err := guests[3].OpenReceiver(to) // keeps the group known
			wait(err)
			wait(other.Join())
			wanted(false, false)
			wait(receiver.Join())
			wanted(true, true)
			wait(receiver.Exclude(a))
			wanted(false, true)
			wait(receiver.Unblock(a))
			wait(receiver.Block(b))
			wanted(true, false)
			wait(receiver.Include(b))
			wanted(false, true)
			wait(receiver.JoinSource(a))
			wanted(true, true)
			wait(receiver.LeaveSource(b))
			wanted(true, false)
			wait(receiver.Exclude())
			wanted(true, true)
			wait(receiver.Leave())
			wanted(false, false)

			if got := deaf.Sources(); len(got) > 0 {
				t.Errorf("a receiver that has not joined got packets of %v, for another socket of its guest", got)
			}
			n, err := senders[0].Send()
			wait(err)
			eventually(t, "the packet at the far guest", func() bool { return other.Received(a)[n] == 1 })
			way := map[Tunnel]int{{near.VTEP, far.VTEP, 7}: 1}
			eventually(t, "one copy on the wire", func() bool { return maps.Equal(wire.Ways(streams[0], n), way) })

			// A stream of its own, counted.
			wait(receiver.Join())
			wanted(true, true)
			from := senders[0].Next()
			senders[0].Start(time.Millisecond)
			eventually(t, "100 packets", func() bool { return senders[0].Next() >= from+100 })
			next, err := senders[0].Stop()
			wait(err)
			eventually(t, "all of them", func() bool { return len(receiver.Received(a).Lost(from, next)) == 0 })
			if n := receiver.Received(a).Duplicates(); n > 0 {
				t.Errorf("%d duplicates: %s", n, receiver.Received(a))
			}
		})
	}
}

// eventually waits for what follows from something that the test did. The
// limit only ends a test that would hang.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
