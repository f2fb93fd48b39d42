// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"slices"
	"testing"

	"overcast/bpf"
)

// What oc_uplink_xdp makes of what comes over the underlay.
func TestUplinkXDP(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			for _, r := range w.xdpRows() {
				w.run(t, r)
			}
		})
	}
}

func (w *world) xdpRows() []row {
	// An Ethernet header is the least packet that a test run takes.
	const ethernet = 14
	return slices.Concat(w.xdpStripRows(), w.strangerRows(bpf.UplinkXDP), w.leftRows(bpf.UplinkXDP),
		w.deniedRows(bpf.UplinkXDP), w.truncations(bpf.UplinkXDP, ethernet))
}

// xdpStripRows are stripped, whatever is in them and wherever it goes.
func (w *world) xdpStripRows() []row {
	var rows []row
	stripped := func(name, host, segment string, vni uint32, frame []byte) {
		r := w.arrived(bpf.UplinkXDP, name, w.from(host, vni).Wrap(frame))
		r.data, r.meta = frame, w.metadata(segment, host)
		rows = append(rows, r)
	}
	kinds := frames(macB, macTwo)
	for _, name := range sorted(kinds) {
		stripped(name, "host-b", "shop/lan", vniLAN, kinds[name])
	}
	kinds = frames(macC, macBroadcast)
	for _, name := range sorted(kinds) {
		stripped(name+" of another host, to all", "host-c", "shop/lan", vniLAN, kinds[name])
	}
	stripped("another segment", "host-b", "shop/wide", vniWide, ARP(guest4(mac(0x0b, 2)), guest4(mac(0x0a, 5))))
	stripped("another environment", "host-g", "other/lan", vniOther, ARP(guest4(macB), guest4(macTwo)))
	stripped("a host without a route", "host-d", "shop/lan", vniLAN, ARP(guest4(macD), guest4(macTwo)))
	stripped("a large frame", "host-b", "shop/lan", vniLAN, TCP(guest6(macB), guest6(macTwo), 3000))
	// Where it goes, and whether it may, is for oc_uplink_in to say.
	stripped("a MAC of nobody", "host-b", "shop/lan", vniLAN, ARP(guest4(macB), guest4(macNobody)))
	stripped("from a group", "host-b", "shop/lan", vniLAN, ARP(guest4(macAll6), guest4(macTwo)))

	checksummed := w.arrived(bpf.UplinkXDP, "an outer UDP checksum", w.from("host-b", vniLAN).Wrap(kinds["ARP"]))
	checksummed.packet.Data[w.outerHeaders()-16+6] = 0x55
	checksummed.data, checksummed.meta = kinds["ARP"], w.metadata("shop/lan", "host-b")
	return append(rows, checksummed)
}

// metadata is struct oc_meta as oc_uplink_in reads it.
func (w *world) metadata(segment, host string) []byte {
	meta := binary.NativeEndian.AppendUint64(nil, Magic)
	meta = binary.NativeEndian.AppendUint32(meta, w.segment(segment))
	return binary.NativeEndian.AppendUint32(meta, w.remote(host))
}
