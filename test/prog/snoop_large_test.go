// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"testing"

	"overcast/bpf"
	"overcast/test/lab"
)

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
