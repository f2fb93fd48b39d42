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
			l := newListener(t, newWorld(t, underlay, nil), "shop/wide", "host-b")
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
	event   []byte // the frame that it is handed; nil: none
	segment string // in which it was; "": the listener's
	missed  bool   // it is told that it has missed something
}

// Room for a frame in an event (SNOOP_SMALL, SNOOP_PACKET and SNOOP_LARGE in
// snoop.h), and as how many messages one counts that takes it.
const (
	smallEvent, packetEvent, largeEvent = 512, 1600, 9216
	packetCost, largeCost               = packetEvent / smallEvent, largeEvent / smallEvent
)

// eventRoom is what a frame of so many bytes takes of the ring, and what it costs.
func eventRoom(bytes int) (takes, costs int) {
	switch {
	case bytes <= smallEvent:
		return smallEvent, 1
	case bytes <= packetEvent:
		return packetEvent, packetCost
	}
	return largeEvent, largeCost
}

// listener is a world and the agent's end of oc_events, and where what comes to
// it is from.
type listener struct {
	*world
	x       *watch
	ring    *ringbuf.Reader
	segment string
	host    string // what is from no port
}

func newListener(t *testing.T, w *world, segment, host string) *listener {
	t.Helper()
	ring, err := ringbuf.NewReader(w.Maps.Events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return &listener{world: w, ring: ring, segment: segment, host: host}
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
		want = append(want, l.record(h))
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
func (l *listener) record(h heard) []byte {
	ifindex, remote := h.packet.Ifindex, uint32(0)
	if h.program != bpf.PortIn {
		ifindex, remote = 0, l.remote(l.host)
	}
	segment := l.segment
	if h.segment != "" {
		segment = h.segment
	}
	var record []byte
	for _, word := range []uint32{l.world.segment(segment), ifindex, remote, uint32(len(h.event))} {
		record = binary.NativeEndian.AppendUint32(record, word)
	}
	takes, _ := eventRoom(len(h.event))
	return append(append(record, h.event...), make([]byte, takes-len(h.event))...)
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

// caughtUp tells whether the agent has missed something of its segment, and has
// it catch up.
func (l *listener) caughtUp(t *testing.T) bool {
	t.Helper()
	missed, err := l.Maps.Missed()
	if err != nil {
		t.Fatal(err)
	}
	slot := l.world.segment(l.segment)
	when, some := missed[slot]
	if err := l.Maps.CatchUp(slot, when); err != nil {
		t.Fatal(err)
	}
	delete(missed, slot)
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

// deadRows come while no agent listens: the next one is handed them, but until
// then they are forwarded as other frames are, and noted as missed.
func (w *world) deadRows() []heard {
	var rows []heard
	forwarded := func(name string, frame, fromB []byte) {
		for state, prepare := range map[string]func(*world) func(){
			"nobody has ever listened":             snooped(0, 0),
			"nobody has listened for some time":    snooped(-4*time.Second, time.Hour, "shop/wide"),
			"the agent listens to another segment": listens("shop/lan"),
		} {
			h, fromRemote := w.seen(name+", "+state, frame), w.seenFromRemote(name+" of a remote, "+state, fromB)
			h.missed, fromRemote.missed = true, w.stripsAtTC(fromB)
			rows = append(rows, after(h, prepare), after(fromRemote, prepare))
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

// sizedRows are about as large as what an event of each kind has room for;
// TestLargeMessages has the largest.
func (w *world) sizedRows() []heard {
	var rows []heard
	listening := listens("shop/wide")
	for _, size := range []int{200, smallEvent - 1, smallEvent, smallEvent + 1, packetEvent - 1, packetEvent, packetEvent + 1, 3000} {
		rows = append(rows,
			after(w.taken(fmt.Sprintf("%d bytes", size), report(mac(0x0a, 5), size)), listening),
			after(w.takenFromRemote(fmt.Sprintf("%d bytes of a remote", size), report(mac(0x0b, 2), size)), listening))
	}
	return rows
}

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

// probeRows are frames to the MAC of agents. A port may send none, and no port
// gets one.
func (w *world) probeRows() []heard {
	listening := listens("shop/wide")
	five, b := mac(0x0a, 5), mac(0x0b, 2)
	other := func(frame []byte) []byte { return mutated(frame, func(p []byte) []byte { p[13] = 0xb6; return p }) }
	elsewhere := func(frame []byte) []byte { return mutated(frame, func(p []byte) []byte { p[5] = 2; return p }) }
	refused := func(name string, frame []byte) heard {
		r := w.copied(name, frame, nil)
		r.drops = w.dropped(bpf.DropPortProbe, r.packet.Ifindex, "shop/wide", len(frame))
		return heard{row: r}
	}
	dead := w.takenFromRemote("a probe of a remote, and nobody listens", probe(b))
	dead.missed = dead.event != nil
	return []heard{
		after(w.takenFromRemote("a probe of a remote", probe(b)), listening),
		after(w.takenFromRemote("a probe in a segment that neither snoops nor relays", probe(b)), both(listening, deaf("shop/wide"))),
		dead,
		after(heard{row: w.copiedFromRemote("a probe to another MAC", elsewhere(probe(b)), wideAll...)}, listening),
		after(heard{row: w.copiedFromRemote("another EtherType to the MAC of probes", other(probe(b)))}, listening),
		after(heard{row: w.copiedFromRemote("a tagged probe", tagged(probe(b), 0x8100, 45))}, listening),
		after(refused("a probe of a port", probe(five)), listening),
		refused("a probe of a port, and nobody listens", probe(five)),
		after(refused("a probe of a port in a segment that does not snoop", probe(five)), both(listening, deaf("shop/wide"))),
		refused("another EtherType of a port to the MAC of probes", other(probe(five))),
		refused("a tagged probe of a port", tagged(probe(five), 0x8100, 45)),
		after(heard{row: w.flooded("a probe of a port to another MAC", elsewhere(probe(five)))}, listening),
	}
}

// Messages that are larger than a test run takes come over the devices, in one
// piece and in fragments of a page.
func TestLargeMessages(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			l := newListener(t, newWorld(t, underlay, nil), "shop/wide", "host-b")
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
	l := newListener(t, newWorld(t, lab.IPv4, nil), "shop/wide", "host-b")
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
