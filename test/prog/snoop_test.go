// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// What the agent is to hear of comes to it whole, once, and what is not for it
// does not; membership messages go nowhere else.
func TestSnooping(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			l := newListener(t, newWorld(t, underlay, nil))
			l.x = l.watch(t, l.devices()...)
			for _, h := range l.snoopRows() {
				l.step(t, h)
			}
			l.x.compare(t)
		})
	}
}

// heard is a row, and what the agent hears of it.
type heard struct {
	row
	event  []byte // the frame that it is handed; nil: none
	room   int    // bytes that the ring gives to the frame; 0: smallEvent
	missed bool   // it is told that it has missed something
}

// Room for a frame in an event (SNOOP_SMALL and SNOOP_LARGE in snoop.h).
const smallEvent, largeEvent = 512, 9216

// listener is a world and the agent's end of oc_events.
type listener struct {
	*world
	x    *watch
	ring *ringbuf.Reader
}

func newListener(t *testing.T, w *world) *listener {
	t.Helper()
	ring, err := ringbuf.NewReader(w.Maps.Events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return &listener{world: w, ring: ring}
}

// step runs a row and compares what the agent hears.
func (l *listener) step(t *testing.T, h heard) {
	t.Helper()
	prepare := h.prepare
	h.prepare = nil
	if prepare != nil {
		defer prepare(l.world)()
	}
	l.x.run(t, h.row)
	l.compare(t, h)
}

// compare compares what the agent hears of a row whose packet has been through.
func (l *listener) compare(t *testing.T, h heard) {
	t.Helper()
	var want [][]byte
	if h.event != nil {
		want = append(want, h.record(l.world))
	}
	got := l.records(t)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s: the events\n% x\nshould be\n% x", h.name, got, want)
	}
	if missed := l.caughtUp(t); missed != h.missed {
		t.Errorf("%s: the agent has missed something: %t, should be %t", h.name, missed, h.missed)
	}
}

// record is what stands in the ring: struct oc_event, the frame, and what is
// left of its room, which is not looked at.
func (h heard) record(w *world) []byte {
	segment, ifindex, remote := w.segment("shop/wide"), h.packet.Ifindex, uint32(0)
	if h.program != bpf.PortIn {
		ifindex, remote = 0, w.remote("host-b")
	}
	var record []byte
	for _, word := range []uint32{segment, ifindex, remote, uint32(len(h.event))} {
		record = binary.NativeEndian.AppendUint32(record, word)
	}
	room := h.room
	if room == 0 {
		room = smallEvent
	}
	return append(append(record, h.event...), make([]byte, room-len(h.event))...)
}

// records reads what is in the ring, and blanks what is behind the frames.
func (l *listener) records(t *testing.T) [][]byte {
	t.Helper()
	l.ring.SetDeadline(time.Unix(1, 0))
	var records [][]byte
	for {
		record, err := l.ring.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		const header = 16
		clear(record.RawSample[header+binary.NativeEndian.Uint32(record.RawSample[12:]):])
		records = append(records, record.RawSample)
	}
}

// caughtUp tells whether the agent has missed something of shop/wide, and has
// it catch up.
func (l *listener) caughtUp(t *testing.T) bool {
	t.Helper()
	missed, err := l.Maps.Missed()
	if err != nil {
		t.Fatal(err)
	}
	when, some := missed[l.segment("shop/wide")]
	if err := l.Maps.CatchUp(l.segment("shop/wide"), when); err != nil {
		t.Fatal(err)
	}
	if some {
		delete(missed, l.segment("shop/wide"))
	}
	if len(missed) > 0 {
		t.Errorf("messages of other segments have been missed: %v", missed)
	}
	return some
}

// taken is a message of port five that the agent gets, and nobody else.
func (w *world) taken(name string, frame []byte) heard {
	return heard{row: w.copied(name, frame, nil), event: frame}
}

// takenFromRemote is the same of host-b.
func (w *world) takenFromRemote(name string, frame []byte) heard {
	h := heard{row: w.copiedFromRemote(name, frame), event: frame}
	if h.verdict == Passed {
		h.event = nil
	}
	return h
}

// wideAll are the ports of shop/wide.
var wideAll = []int{5, 6, 7}

// seen is a frame of port five that goes to all, and to the agent too.
func (w *world) seen(name string, frame []byte) heard {
	return heard{row: w.flooded(name, frame), event: frame}
}

func (w *world) seenFromRemote(name string, frame []byte) heard {
	h := heard{row: w.copiedFromRemote(name, frame, wideAll...), event: frame}
	if h.verdict == Passed {
		h.event = nil
	}
	return h
}

// after has something be so for a row.
func after(h heard, prepare func(*world) func()) heard {
	h.prepare = prepare
	return h
}

// both has two things be so for a row.
func both(a, b func(*world) func()) func(*world) func() {
	return func(w *world) func() {
		undoA := a(w)
		undoB := b(w)
		return func() { undoB(); undoA() }
	}
}

func (w *world) snoopRows() []heard {
	return slices.Concat(w.takenRows(), w.ordinaryRows(), w.deadRows(), w.sizedRows(), w.pacedRows(), w.probeRows())
}

// takenRows are messages with and without a router alert, which come from a
// port and from a remote.
func (w *world) takenRows() []heard {
	var rows []heard
	listening := listens("shop/wide")
	five, b := memberships(mac(0x0a, 5)), memberships(mac(0x0b, 2))
	for _, name := range sorted(five) {
		rows = append(rows,
			after(w.taken(name, five[name]), listening),
			after(w.taken(name+", alerted", alerted(five[name])), listening),
			after(w.takenFromRemote(name+" of a remote", b[name]), listening),
			after(w.takenFromRemote(name+" of a remote, alerted", alerted(b[name])), listening))
	}
	// From :: while the address is tentative (RFC 3810 5.2.13), 0.0.0.0 before
	// there is one (RFC 3376 4.2.13).
	tentative := mutated(five["MLDv2 report"], func(p []byte) []byte { clear(p[22:38]); return p })
	before := mutated(five["IGMPv3 report"], func(p []byte) []byte { clear(p[26:30]); return p })
	rows = append(rows,
		after(w.taken("MLDv2 report from ::", alerted(tentative)), listening),
		after(w.taken("IGMPv3 report from 0.0.0.0", alerted(before)), listening),
		after(w.taken("in five extension headers", chain(five["MLDv2 report"], 5)), listening),
		after(w.taken("whatever the checksum is", mutated(five["MLDv2 report"], func(p []byte) []byte { p[14+40+2] ^= 1; return p })), listening),
		// It may be believed or not, the agent hears what it listens to.
		after(w.taken("the MDB does not hold", five["MLDv2 report"]), snooped(time.Hour, 0, "shop/wide")),
		after(w.taken("the agent has spoken this very moment", five["MLDv2 report"]), snooped(10*millisecond, time.Hour, "shop/wide")),
	)
	missing := after(w.taken("something was missed before", five["MLDv2 report"]), both(listening, missed("shop/wide")))
	missing.missed = true
	return append(rows, missing)
}

// ordinaryRows are of no interest to an agent, or in no segment that is.
func (w *world) ordinaryRows() []heard {
	var rows []heard
	listening := listens("shop/wide")
	five, b := ordinary(mac(0x0a, 5)), ordinary(mac(0x0b, 2))
	for _, name := range sorted(five) {
		rows = append(rows,
			after(heard{row: w.flooded(name, five[name])}, listening),
			after(heard{row: w.copiedFromRemote(name+" of a remote", b[name], wideAll...)}, listening),
			heard{row: w.flooded(name+", nobody listens", five[name])})
	}
	five, b = routers(mac(0x0a, 5)), routers(mac(0x0b, 2))
	for _, name := range sorted(five) {
		rows = append(rows, after(w.seen(name, five[name]), listening), after(w.seenFromRemote(name+" of a remote", b[name]), listening))
	}
	five, b = memberships(mac(0x0a, 5)), memberships(mac(0x0b, 2))
	for _, name := range sorted(five) {
		rows = append(rows,
			after(heard{row: w.flooded(name+" in a segment that does not snoop", five[name])}, both(listening, deaf("shop/wide"))),
			after(heard{row: w.copiedFromRemote(name+" of a remote in a segment that does not snoop", b[name], wideAll...)}, both(listening, deaf("shop/wide"))))
	}
	lan := w.local("a report to the MAC of a port", "shop/lan/two", mutated(report(macOne, 200), func(p []byte) []byte { copy(p, macTwo); return p }))
	return append(rows, after(heard{row: lan}, listens("shop/wide", "shop/lan")))
}

// deadRows come while no agent listens: they are forwarded as other frames are,
// and noted as missed.
func (w *world) deadRows() []heard {
	var rows []heard
	forwarded := func(name string, frame, fromB []byte) {
		for state, prepare := range map[string]func(*world) func(){
			"nobody has ever listened":            snooped(0, 0),
			"nobody has listened for ten seconds": snooped(-11*time.Second, time.Hour, "shop/wide"),
			"the agent listens to another":        listens("shop/lan"),
		} {
			rows = append(rows,
				after(heard{row: w.flooded(name+", "+state, frame), missed: true}, prepare),
				after(heard{row: w.copiedFromRemote(name+" of a remote, "+state, fromB, wideAll...), missed: w.stripsAtTC(fromB)}, prepare))
		}
	}
	five, b := memberships(mac(0x0a, 5)), memberships(mac(0x0b, 2))
	for _, name := range sorted(five) {
		forwarded(name, five[name], b[name])
	}
	five, b = routers(mac(0x0a, 5)), routers(mac(0x0b, 2))
	for _, name := range sorted(five) {
		forwarded(name, five[name], b[name])
	}
	// It has not listened for a while, but not for long.
	return append(rows, after(w.taken("the agent is slow", memberships(mac(0x0a, 5))["MLDv2 report"]), snooped(-2*time.Second, time.Hour, "shop/wide")))
}

// sizedRows are about as large as what an event of the smaller kind has room
// for; TestLargeMessages has the others.
func (w *world) sizedRows() []heard {
	var rows []heard
	for size := range 4 {
		size += smallEvent - 1
		room := smallEvent
		if size > smallEvent {
			room = largeEvent
		}
		h := after(w.taken(fmt.Sprintf("%d bytes", size), report(mac(0x0a, 5), size)), listens("shop/wide"))
		h.room = room
		fromB := after(w.takenFromRemote(fmt.Sprintf("%d bytes of a remote", size), report(mac(0x0b, 2), size)), listens("shop/wide"))
		fromB.room = room
		rows = append(rows, h, fromB)
	}
	large := after(w.taken("3,000 bytes", report(mac(0x0a, 5), 3000)), listens("shop/wide"))
	large.room = largeEvent
	return append(rows, large)
}

// pacedRows come from a port that has said much of late, or not quite so much.
func (w *world) pacedRows() []heard {
	five, b := memberships(mac(0x0a, 5)), memberships(mac(0x0b, 2))
	hello, helloB := routers(mac(0x0a, 5))["PIM hello over IPv6"], routers(mac(0x0b, 2))["PIM hello over IPv6"]
	tired := func(h heard, port int, ahead time.Duration) heard {
		return after(h, both(listens("shop/wide"), talked(port, ahead)))
	}
	limited := heard{row: w.copied("a message too many", five["MLDv2 report"], nil)}
	limited.drops = w.dropped(bpf.DropSnoopLimited, limited.packet.Ifindex, "shop/wide", len(five["MLDv2 report"]))
	return []heard{
		tired(limited, 5, time.Hour),
		tired(heard{row: w.flooded("a hello too many is forwarded", hello)}, 5, time.Hour),
		tired(w.taken("the last of a burst", five["MLDv2 report"]), 5, 1999*millisecond),
		tired(w.taken("another port has said much", five["MLDv2 report"]), 6, time.Hour),
		tired(w.takenFromRemote("a remote may say more", b["MLDv2 report"]), 0, time.Hour),
		tired(w.seenFromRemote("a remote may say more hellos", helloB), 0, time.Hour),
		tired(heard{row: w.flooded("what is not for the agent", ordinary(mac(0x0a, 5))["router solicitation"])}, 5, time.Hour),
	}
}

// talked has a port have said so much that it takes this long to be forgotten;
// 0 is the port that no port is.
func talked(port int, ahead time.Duration) func(*world) func() {
	return func(w *world) func() {
		slot := w.Contents.Ports[w.Ifindex(Port(port))].Id
		must(w.Maps.SnoopPacers.Put(slot, monotonic(ahead)))
		return func() { must(w.Maps.SnoopPacers.Put(slot, uint64(0))) }
	}
}

// probeRows are frames that tell whether a host lives; a port's are nothing.
// What a segment with relays makes of them TestRelay has.
func (w *world) probeRows() []heard {
	listening := listens("shop/wide")
	five, b := mac(0x0a, 5), mac(0x0b, 2)
	other, elsewhere := probe(b), probe(b)
	other[13], elsewhere[5] = 0xb6, 2
	rows := []heard{
		after(w.takenFromRemote("a probe of a remote", probe(b)), listening),
		after(heard{row: w.flooded("a probe of a port", probe(five))}, listening),
		{row: w.flooded("a probe of a port, nobody listens", probe(five))},
		after(heard{row: w.copiedFromRemote("another EtherType to the MAC of probes", other, wideAll...)}, listening),
		after(heard{row: w.copiedFromRemote("a probe to another MAC", elsewhere, wideAll...)}, listening),
		after(heard{row: w.copiedFromRemote("a tagged probe", tagged(probe(b), 0x8100, 45), wideAll...)}, listening),
		after(heard{row: w.copiedFromRemote("a probe in a segment that neither snoops nor relays", probe(b), wideAll...)}, both(listening, deaf("shop/wide"))),
		{row: w.copiedFromRemote("a probe, and nobody listens", probe(b), wideAll...), missed: w.stripsAtTC(probe(b))},
	}
	return rows
}

// Messages that are larger than a test run takes come over the devices, in one
// piece and in fragments of a page.
func TestLargeMessages(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			l := newListener(t, newWorld(t, underlay, nil))
			for _, device := range []string{Uplink, Port(5), Port(6), Port(7)} {
				for _, n := range []*lab.Namespace{l.Host, l.Far} {
					if err := n.SetMTU(device, 9600); err != nil {
						t.Fatal(err)
					}
				}
			}
			l.attachTo(t, Port(5), bpf.PortIn)
			l.attachTo(t, Uplink, bpf.UplinkIn)
			for name, send := range map[string]func(*testing.T, string, []byte){"whole": l.sendWhole, "scattered": l.sendScattered} {
				t.Run(name, func(t *testing.T) {
					for _, h := range l.largeRows() {
						t.Run(h.name, func(t *testing.T) { l.come(t, h, send) })
					}
				})
			}
		})
	}
}

func (w *world) largeRows() []heard {
	largest, more := report(mac(0x0a, 5), largeEvent), report(mac(0x0a, 5), largeEvent+1)
	largestB, moreB := report(mac(0x0b, 2), largeEvent), report(mac(0x0b, 2), largeEvent+1)
	oversized := func(h heard, bytes int) heard {
		h.event, h.drops = nil, w.dropped(bpf.DropSnoopOversized, h.packet.Ifindex, "shop/wide", bytes)
		return h
	}
	rows := []heard{
		w.taken("the largest that the agent takes", largest),
		w.takenFromRemote("the largest that the agent takes, of a remote", largestB),
		oversized(w.taken("one byte more", more), len(more)),
		oversized(w.takenFromRemote("one byte more, of a remote", moreB), len(moreB)),
	}
	for i := range rows {
		rows[i].room = largeEvent
	}
	// No hello is so large. One that is tells nothing, and is nothing to miss.
	hello := func(from net.HardwareAddr) []byte {
		return pim(guest4(from), group("224.0.0.13"), pimHello, largeEvent-14-20+1)
	}
	larger := heard{row: w.copied("a hello of one byte more", hello(mac(0x0a, 5)), []int{6, 7})}
	larger.drops = w.dropped(bpf.DropMTUUnanswerable, larger.packet.Ifindex, "shop/wide", largeEvent+1)
	rows = append(rows, larger, heard{row: w.copiedFromRemote("a hello of one byte more, of a remote", hello(mac(0x0b, 2)), wideAll...)})
	// A group's entry is found in what is scattered, too; such frames do not fit
	// the tunnel, and port six alone gets them.
	video, videoB := UDP(guest6(mac(0x0a, 5)), video6, 5000), UDP(guest6(mac(0x0b, 2)), video6, 5000)
	return append(rows,
		heard{row: w.copied("a large frame to a group", video, []int{6})},
		heard{row: w.copiedFromRemote("a large frame to a group, of a remote", videoB, 6)},
	)
}

// come sends a row's packet, and compares what is counted and what the agent hears.
func (l *listener) come(t *testing.T, h heard, send func(*testing.T, string, []byte)) {
	t.Helper()
	entry := map[bpf.MDBKey]maps.Receivers{l.entry("shop/wide", video6.IP.String(), ""): l.receivers([]int{6})}
	defer told(entry, "shop/wide")(l.world)()
	before, err := l.Counts()
	if err != nil {
		t.Fatal(err)
	}
	send(t, l.device(h.packet.Ifindex), h.packet.Data)
	l.await(t, h.row, before)
	// What is counted first may be handed over a moment later.
	for deadline := time.Now().Add(5 * time.Second); h.event != nil && l.ring.AvailableBytes() == 0 && time.Now().Before(deadline); {
		time.Sleep(millisecond)
	}
	l.compare(t, h)
}

func (w *world) sendWhole(t *testing.T, device string, frame []byte) {
	t.Helper()
	if err := w.Far.SendFrame(device, frame); err != nil {
		t.Fatal(err)
	}
}

// sendScattered sends a frame of more than a page, of which the kernel has only
// the Ethernet header at hand. The rest is in fragments.
func (w *world) sendScattered(t *testing.T, device string, frame []byte) {
	t.Helper()
	index, err := w.Far.LinkIndex(device)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Far.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return fmt.Errorf("PACKET_VNET_HDR: %w", err)
		}
		// struct virtio_net_hdr (linux/virtio_net.h), of which only the length of
		// the headers says something: packet_snd makes no more of it linear.
		header := make([]byte, 10)
		binary.NativeEndian.PutUint16(header[2:], 14)
		return unix.Sendto(fd, append(header, frame...), 0, &unix.SockaddrLinklayer{Ifindex: int(index)})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A tag beside the frame keeps a message from the agent, as whoever is in that
// VLAN is no member of the group for the others.
func TestTaggedMessages(t *testing.T) {
	l := newListener(t, newWorld(t, lab.IPv4, nil))
	l.attachTo(t, Port(5), bpf.PortIn)
	message := report(mac(0x0a, 5), 200)
	l.come(t, l.taken("untagged", message), l.sendWhole)
	h := heard{row: l.flooded("tagged", message)}
	h.packet.Data = tagged(message, 0x8100, 45)
	l.come(t, h, l.sendWhole)
}

// A port that sends nothing but messages gets a burst of them to the agent, then
// one each millisecond.
func TestMessagesAreLimited(t *testing.T) {
	l := newListener(t, newWorld(t, lab.IPv4, nil))
	defer listens("shop/wide")(l.world)()
	packet := Packet{Data: memberships(mac(0x0a, 5))["MLDv2 report"], Ifindex: l.Ifindex(Port(5))}
	const rounds, tries = 25, 100
	handed, began := 0, time.Now()
	for range rounds {
		if _, err := l.Time(bpf.PortIn, tries, func(int) Packet { return packet }); err != nil {
			t.Fatal(err)
		}
		handed += len(l.records(t))
	}
	took := time.Since(began)
	counts, err := l.Counts()
	if err != nil {
		t.Fatal(err)
	}
	key := bpf.DropKey{Reason: bpf.DropSnoopLimited, Ifindex: packet.Ifindex, Segment: l.segment("shop/wide")}
	if limited := int(counts.Drops[key].Packets); handed+limited != rounds*tries {
		t.Errorf("%d handed over and %d not, of %d", handed, limited, rounds*tries)
	}
	if most := 2000 + int(took/millisecond); handed < min(2000, rounds*tries) || handed > most {
		t.Errorf("%d handed over in %v, should be 2000 to %d", handed, took, most)
	}
	if l.caughtUp(t) {
		t.Error("what is beyond a port's limit counts as missed")
	}
}

// A ring that is full is like an agent that is dead: what does not fit is
// forwarded. Groups are flooded until the agent has caught up, and what is in
// the ring stays as it is.
func TestFullRing(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			l := newListener(t, newWorld(t, underlay, nil))
			l.x = l.watch(t, l.devices()...)
			slot := l.segment("shop/wide")
			defer told(map[bpf.MDBKey]maps.Receivers{l.entry("shop/wide", video6.IP.String(), ""): l.receivers([]int{6})}, "shop/wide")(l.world)()
			message, video := report(mac(0x0b, 2), smallEvent+1), UDP(guest6(mac(0x0a, 5)), video6, 100)
			taken, forwarded := l.takenFromRemote("there is room", message), l.copiedFromRemote("there is none", message, wideAll...)

			fits := int(l.Maps.Events.MaxEntries()) / (8 + 16 + largeEvent) // with the ring's own header
			for range fits {
				l.x.run(t, taken.row)
			}
			l.x.run(t, l.copied("a frame to a group", video, []int{6}))
			l.x.run(t, forwarded)
			l.x.run(t, l.flooded("a frame to a group, when a message was missed", video))
			l.x.run(t, forwarded)

			taken.room = largeEvent
			records, want := l.records(t), taken.record(l.world)
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
