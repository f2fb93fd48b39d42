// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"slices"
	"testing"

	"overcast/bpf"
)

// withGeneve makes the constants those of an overlay of Geneve.
func withGeneve(c *bpf.Constants) {
	c.Geneve = 1
}

// Under Geneve each program does all that it does under VXLAN.
func TestGeneve(t *testing.T) {
	for name, rows := range map[string]func(*world) []row{
		bpf.PortIn:    (*world).portRows,
		bpf.UplinkXDP: (*world).xdpRows,
		bpf.UplinkIn:  (*world).uplinkRows,
	} {
		for _, underlay := range underlays {
			t.Run(name+"/"+underlay.String(), func(t *testing.T) {
				w := newWorld(t, underlay, withGeneve)
				for _, r := range rows(w) {
					w.run(t, r)
				}
			})
		}
	}
}

// Where the kernel has no tunnel device for Geneve, what is plain is stripped,
// and what the device would be needed for is a counted drop, and not the host's
// own stack's.
func TestGeneveWithoutDevice(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, func(c *bpf.Constants) { c.Geneve, c.TunnelIfindex = 1, 0 })
			rows := slices.Concat(w.deviceMissingRows(), w.strangerRows(bpf.UplinkIn), w.deniedRows(bpf.UplinkIn))
			for _, r := range slices.Concat(w.deliveredRows(), w.leftRows(bpf.UplinkIn)) {
				if r.verdict == Passed && !isFragment(r.packet.Data) {
					segment := "shop/lan"
					r.verdict, r.drops = Dropped, w.dropped(bpf.DropDeviceMissing, r.packet.Ifindex, segment, len(r.packet.Data))
				}
				rows = append(rows, r)
			}
			for _, r := range rows {
				w.run(t, r)
			}
		})
	}
}

// isFragment tells whether an outer packet is a fragment, which no program knows
// for one of ours.
func isFragment(packet []byte) bool {
	if packet[12] == 0x08 {
		return packet[20]&0x3f != 0 || packet[21] != 0
	}
	next, at := packet[20], 14+40
	for next == 0 || next == 43 || next == 60 {
		next, at = packet[at], at+8*(1+int(packet[at+1]))
	}
	return next == 44
}

// geneveOption is an option (RFC 8926 3.5) with a body of so many words.
func geneveOption(kind byte, words int) []byte {
	return append([]byte{0xff, 0x55, kind, byte(words)}, make([]byte, 4*words)...)
}

// geneveRows are headers that only Geneve has: what must not be there is a drop,
// and what may be there is skipped.
func (w *world) geneveRows(program string) []row {
	frame := UDP(guest4(macB), guest4(macTwo), 100)
	ours := w.from("host-b", vniLAN)
	header := w.outerHeaders() - 8
	with := func(options ...[]byte) []byte {
		o := ours
		o.Options = slices.Concat(options...)
		return o.Wrap(frame)
	}
	set := func(packet []byte, at int, bits byte) []byte {
		return mutated(packet, func(p []byte) []byte { p[header+at] |= bits; return p })
	}
	many := slices.Repeat(geneveOption(1, 0), 63)
	whole := with()
	rows := []row{
		w.denied(program, "version 1", bpf.DropTunnelVersion, "", set(whole, 0, 0x40)),
		w.denied(program, "version 2", bpf.DropTunnelVersion, "", set(whole, 0, 0x80)),
		w.denied(program, "a control packet", bpf.DropTunnelControl, "", set(whole, 1, 0x80)),
		w.denied(program, "the flag of critical options", bpf.DropTunnelOption, "", set(whole, 1, 0x40)),
		w.denied(program, "IPv4 in the tunnel", bpf.DropTunnelProtocol, "",
			mutated(whole, func(p []byte) []byte { p[header+2], p[header+3] = 0x08, 0x00; return p })),
		w.denied(program, "a critical option", bpf.DropTunnelOption, "", with(geneveOption(0x80, 1))),
		w.denied(program, "a critical option and its flag", bpf.DropTunnelOption, "", set(with(geneveOption(0x81, 0)), 1, 0x40)),
		w.denied(program, "the last option is critical", bpf.DropTunnelOption, "", with(geneveOption(1, 31), geneveOption(0x7f, 20), geneveOption(0xff, 2))),
		w.denied(program, "62 options and a critical one", bpf.DropTunnelOption, "", with(many[4:], geneveOption(0x80, 0))),
		w.denied(program, "an option that is longer than the options", bpf.DropTunnelTruncated, "",
			mutated(with(geneveOption(1, 2)), func(p []byte) []byte { p[header+8+3] = 3; return p })),
		w.denied(program, "options that are longer than the packet", bpf.DropTunnelTruncated, "", set(whole, 0, 0x3f)),
		w.denied(program, "options up to the end of the packet", bpf.DropTunnelTruncated, "", set(whole, 0, byte((len(frame)+3)/4))),
		w.denied(program, "options and 12 bytes of a frame", bpf.DropTunnelTruncated, "",
			mutated(ours.Wrap(make([]byte, 4+12)), func(p []byte) []byte { p[header] = 1; return p })),
	}
	for name, packet := range map[string][]byte{
		"a reserved flag":                set(whole, 1, 0x01),
		"all reserved flags":             set(whole, 1, 0x3f),
		"a reserved byte behind the VNI": set(whole, 7, 0xff),
		"an option without a body":       with(geneveOption(1, 0)),
		"an option of 31 words":          with(geneveOption(0x7f, 31)),
		"reserved bits in an option":     set(with(geneveOption(1, 1)), 8+3, 0xe0),
		"three options":                  with(geneveOption(1, 1), geneveOption(2, 0), geneveOption(3, 7)),
		"63 options":                     with(many),
		"252 bytes of options":           with(geneveOption(1, 31), geneveOption(2, 30)),
	} {
		rows = append(rows, w.skipped(program, name, packet, frame))
	}
	return rows
}

// skipped is a packet of host-b for port two that is stripped to this frame.
func (w *world) skipped(program, name string, packet, frame []byte) row {
	if program == bpf.UplinkXDP {
		r := w.arrived(program, name, packet)
		r.data, r.meta = frame, w.metadata("shop/lan", "host-b")
		return r
	}
	r := w.delivered(name, "host-b", "shop/lan/two", frame)
	r.packet.Data = packet
	return r
}
