// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"overcast/bpf"
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
	unheard := func(h heard) heard {
		h.drops = w.dropped(bpf.DropProbeUnheard, h.packet.Ifindex, "shop/wide", len(h.data))
		return h
	}
	dead := unheard(w.takenFromRemote("a probe of a remote, and nobody listens", probe(b)))
	dead.missed = dead.event != nil
	return []heard{
		after(w.takenFromRemote("a probe of a remote", probe(b)), listening),
		after(w.takenFromRemote("a probe in a segment that neither snoops nor relays", probe(b)), both(listening, deaf("shop/wide"))),
		dead,
		after(heard{row: w.copiedFromRemote("a probe to another MAC", elsewhere(probe(b)), wideAll...)}, listening),
		after(unheard(heard{row: w.copiedFromRemote("another EtherType to the MAC of probes", other(probe(b)))}), listening),
		after(unheard(heard{row: w.copiedFromRemote("a tagged probe", tagged(probe(b), 0x8100, 45))}), listening),
		after(refused("a probe of a port", probe(five)), listening),
		refused("a probe of a port, and nobody listens", probe(five)),
		after(refused("a probe of a port in a segment that does not snoop", probe(five)), both(listening, deaf("shop/wide"))),
		refused("another EtherType of a port to the MAC of probes", other(probe(five))),
		refused("a tagged probe of a port", tagged(probe(five), 0x8100, 45)),
		after(heard{row: w.flooded("a probe of a port to another MAC", elsewhere(probe(five)))}, listening),
	}
}
