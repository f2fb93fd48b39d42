// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// pacedRows come from a port or remote that has said much of late, or not quite
// so much.
func (w *world) pacedRows() []heard {
	five, b := memberships(mac(0x0a, 5))["MLDv2 report"], memberships(mac(0x0b, 2))["MLDv2 report"]
	hello, helloB := routers(mac(0x0a, 5))["PIM hello over IPv6"], routers(mac(0x0b, 2))["PIM hello over IPv6"]
	tired := func(h heard, talked func(*world) func()) heard { return after(h, both(listens("shop/wide"), talked)) }
	limited := func(r row) heard {
		r.drops = w.dropped(bpf.DropSnoopLimited, r.packet.Ifindex, "shop/wide", len(r.frame()))
		return heard{row: r}
	}
	port, remote := w.portPacer(5), w.remotePacer("host-b")
	const burst = 2000 * millisecond
	rows := []heard{
		tired(limited(w.copied("a message too many", five, nil)), talked(port, time.Hour)),
		tired(heard{row: w.flooded("a hello too many is forwarded", hello)}, talked(port, time.Hour)),
		tired(limited(w.copiedFromRemote("a message too many of a remote", b)), talked(remote, time.Hour)),
		tired(heard{row: w.copiedFromRemote("a hello too many of a remote is forwarded", helloB, wideAll...)}, talked(remote, time.Hour)),
		tired(w.taken("another port has said much", five), talked(w.portPacer(6), time.Hour)),
		tired(w.taken("a remote has said much", five), talked(remote, time.Hour)),
		tired(w.takenFromRemote("a port has said much", b), talked(port, time.Hour)),
		tired(w.takenFromRemote("another remote has said much", b), talked(w.remotePacer("host-c"), time.Hour)),
		tired(heard{row: w.flooded("what is not for the agent", ordinary(mac(0x0a, 5))["router solicitation"])}, talked(port, time.Hour)),
	}
	for _, size := range []int{smallEvent, packetEvent, 3000} {
		_, cost := eventRoom(size)
		last := burst - time.Duration(cost)*millisecond
		rows = append(rows, tired(w.taken(fmt.Sprintf("the last of a burst, of %d bytes", size), report(mac(0x0a, 5), size)), talked(port, last)))
	}
	// Nobody listens, and what is too much is too much.
	return append(rows, after(limited(w.copied("a message too many, and nobody listens", five, nil)), talked(port, time.Hour)))
}

// portPacer and remotePacer are where it is kept how much they have said.
func (w *world) portPacer(port int) uint32 {
	return w.Contents.Ports[w.Ifindex(Port(port))].Id
}

func (w *world) remotePacer(host string) uint32 {
	return bpf.MaxPorts + w.remote(host)
}

// talked has a port or remote have said so much that it takes this long to be
// forgotten.
func talked(pacer uint32, ahead time.Duration) func(*world) func() {
	return func(w *world) func() {
		must(w.Maps.SnoopPacers.Put(pacer, monotonic(ahead)))
		return func() { must(w.Maps.SnoopPacers.Put(pacer, uint64(0))) }
	}
}

// A port that sends nothing but messages gets a burst of them to the agent, then
// one each millisecond.
func TestMessagesAreLimited(t *testing.T) {
	l := newListener(t, newWorld(t, lab.IPv4, nil), "shop/wide", "host-b")
	defer listens("shop/wide")(l.world)()
	packet := Packet{Data: memberships(mac(0x0a, 5))["MLDv2 report"], Ifindex: l.Ifindex(Port(5))}
	const tries = 2500
	began := time.Now()
	if _, err := l.Time(bpf.PortIn, tries, func(int) Packet { return packet }); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	handed := len(l.records(t))
	counts, err := l.Counts()
	if err != nil {
		t.Fatal(err)
	}
	key := bpf.DropKey{Reason: bpf.DropSnoopLimited, Ifindex: packet.Ifindex, Segment: l.world.segment("shop/wide")}
	if limited := int(counts.Drops[key].Packets); handed+limited != tries {
		t.Errorf("%d handed over and %d not, of %d", handed, limited, tries)
	}
	if most := 2000 + int(took/millisecond); handed < 2000 || handed > most {
		t.Errorf("%d handed over in %v, should be 2000 to %d", handed, took, most)
	}
	if l.caughtUp(t) {
		t.Error("what is beyond a port's limit counts as missed")
	}
}

// A large message counts as so many small ones as would fill its room.
func TestWhatMessagesCost(t *testing.T) {
	w := newWorld(t, lab.IPv4, nil)
	defer listens("shop/wide")(w)()
	for _, size := range []int{200, smallEvent, smallEvent + 1, packetEvent, packetEvent + 1, 3000} {
		_, cost := eventRoom(size)
		for _, from := range []struct {
			pacer uint32
			row   row
		}{
			{w.portPacer(5), w.taken("", report(mac(0x0a, 5), size)).row},
			{w.remotePacer("host-b"), w.takenFromRemote("", report(mac(0x0b, 2), size)).row},
		} {
			if spent := w.spent(t, from.pacer, from.row); spent != time.Duration(cost)*millisecond {
				t.Errorf("%s, %d bytes: %v, should be %d ms", from.row.program, size, spent, cost)
			}
		}
	}
}

// spent is what a row's packet adds to a pacer that is a second from being
// empty. A run that takes so long is done again.
func (w *world) spent(t *testing.T, pacer uint32, r row) time.Duration {
	t.Helper()
	for {
		before, after := monotonic(time.Second), uint64(0)
		must(w.Maps.SnoopPacers.Put(pacer, before))
		if _, err := w.Run(r.program, r.packet); err != nil {
			t.Fatal(err)
		}
		must(w.Maps.SnoopPacers.Lookup(pacer, &after))
		if monotonic(10*millisecond) < before {
			return time.Duration(after - before)
		}
	}
}

// A ring that is full is like an agent that is dead: what does not fit is
// forwarded. Groups are flooded until the agent has caught up, and what is in
// the ring stays as it is.
func TestFullRing(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			l := newListener(t, newWorld(t, underlay, nil), "shop/wide", "host-b")
			l.x = l.watch(t, l.devices()...)
			slot := l.world.segment("shop/wide")
			defer told(map[bpf.MDBKey]maps.Receivers{l.entry("shop/wide", video6.IP.String(), ""): l.receivers([]int{6})}, "shop/wide")(l.world)()
			message, video := report(mac(0x0b, 2), 1400), UDP(guest6(mac(0x0a, 5)), video6, 100)
			taken, forwarded := l.takenFromRemote("there is room", message), l.copiedFromRemote("there is none", message, wideAll...)
			rested := talked(l.remotePacer("host-b"), 0)
			taken.prepare, forwarded.prepare = rested, rested

			fits := int(l.Maps.Events.MaxEntries()) / (8 + 16 + packetEvent) // with the ring's own header
			for range fits - 1 {
				rested(l.world)
				if _, err := l.Run(taken.program, taken.packet); err != nil {
					t.Fatal(err)
				}
			}
			l.x.run(t, taken.row)
			l.x.run(t, l.copied("a frame to a group", video, []int{6}))
			l.x.run(t, forwarded)
			l.x.run(t, l.flooded("a frame to a group, when a message was missed", video))
			l.x.run(t, forwarded)

			records, want := l.records(t), l.record(taken)
			if len(records) != fits {
				t.Errorf("%d events, should be %d", len(records), fits)
			}
			for i, record := range records {
				if !bytes.Equal(record, want) {
					t.Fatalf("event %d:\n% x\nshould be\n% x", i, record, want)
				}
			}
			l.x.run(t, taken.row)
			if n := len(l.records(t)); n != 1 {
				t.Errorf("%d events when there is room again", n)
			}
			l.x.run(t, l.flooded("a frame to a group, before the agent has caught up", video))
			missed, err := l.Maps.Missed()
			if err != nil {
				t.Fatal(err)
			}
			must(l.Maps.CatchUp(slot, missed[slot]-1))
			l.x.run(t, l.flooded("a frame to a group, when the agent has caught up with less", video))
			must(l.Maps.CatchUp(slot, missed[slot]))
			l.x.run(t, l.copied("a frame to a group, when the agent has caught up", video, []int{6}))
			l.x.compare(t)
		})
	}
}
