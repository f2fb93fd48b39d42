// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"overcast/test/lab"
)

// vlanTag is a tag as a program puts it on.
type vlanTag struct {
	tpid, tci uint16
}

// Guests that speak in VLANs reach each other with whole super-frames, on other
// hosts and on their own, to the last byte that the tunnel has room for. Their
// tags are beside the frame (skb->vlan_tci), as those of a VLAN interface are:
// programs put them on and take them off, since a kernel may have none.
func TestGuestVLANs(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				t.Parallel()
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay}), t: t, flags: []string{"--decap", decap}}
				one := w.addGuest(w.Hosts[0], "one", lab.GuestOptions{})
				two := w.addGuest(w.Hosts[1], "two", lab.GuestOptions{Kind: lab.Tap})
				near := w.addGuest(w.Hosts[0], "near", lab.GuestOptions{})
				t.Cleanup(w.explain)
				w.start()
				for _, c := range []struct {
					name string
					tags []vlanTag // the innermost first
				}{
					{"802.1Q", []vlanTag{{0x8100, 100}}},
					{"priority tag", []vlanTag{{0x8100, 5 << 13}}},
					{"QinQ", []vlanTag{{0x8100, 100}, {0x88a8, 7}}},
				} {
					t.Run(c.name, func(t *testing.T) {
						was := w.t
						w.t = t
						defer func() { w.t = was }()
						room := 1500 - w.Overhead() - 4*len(c.tags)
						for _, g := range w.guests {
							w.narrow(g, room)
							tagAll(t, g, c.tags)
						}
						wire, seen := w.capture(one), w.capture(two)
						w.ping(one, "10.9.0.2")
						w.ping(one, "2001:45::3")
						w.run(two.Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-M", "do",
							"-s", fmt.Sprint(room-48), "2001:45::1")
						for _, f := range append(wire.Frames(), seen.Frames()...) {
							// The host's own queries are not of any VLAN.
							if f.Data[6] == 0x02 && !isTagged(f.Data, c.tags) {
								t.Fatalf("a frame without its tags: % x", f.Data[:min(len(f.Data), 64)])
							}
						}
						wire.Stop()
						seen.Stop()
						transferSome(t, one, two, netip.MustParseAddrPort("[2001:45::2]:5001"))
						transferSome(t, two, one, netip.MustParseAddrPort("10.9.0.1:5002"))
						transferSome(t, one, near, netip.MustParseAddrPort("10.9.0.3:5003"))
					})
				}
				w.noDrops()
				w.clean()
			})
		}
	}
}

// narrow gives the ways from a guest to all others an MTU, as a VLAN interface
// has one that is smaller than that of the device below it.
func (w *world) narrow(g *lab.Guest, mtu int) {
	w.t.Helper()
	for _, other := range w.guests {
		if other == g {
			continue
		}
		for _, prefix := range other.Options.Addresses {
			to := prefix.Addr()
			if err := g.AddRoute(lab.Route{To: netip.PrefixFrom(to, to.BitLen()), Device: lab.GuestDevice, MTU: mtu}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// isTagged tells whether a frame begins with these tags, the innermost first.
func isTagged(f []byte, tags []vlanTag) bool {
	for i := range tags {
		at, t := 12+4*i, tags[len(tags)-1-i]
		if len(f) < at+4 || binary.BigEndian.Uint16(f[at:]) != t.tpid || binary.BigEndian.Uint16(f[at+2:]) != t.tci {
			return false
		}
	}
	return true
}

// tagAll makes a guest send everything with tags, and take them off what comes,
// until the test ends.
func tagAll(t *testing.T, g *lab.Guest, tags []vlanTag) {
	t.Helper()
	on := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	off := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	for _, tag := range tags {
		tpid := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, tag.tpid))
		on = append(on, asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, int32(tpid)), asm.Mov.Imm(asm.R3, int32(tag.tci)), asm.FnSkbVlanPush.Call())
		off = append(off, asm.Mov.Reg(asm.R1, asm.R6), asm.FnSkbVlanPop.Call())
	}
	for _, attach := range []func() (io.Closer, error){
		func() (io.Closer, error) { return g.AttachEgress(lab.GuestDevice, classifier(t, on)) },
		func() (io.Closer, error) { return g.AttachIngress(lab.GuestDevice, classifier(t, off)) },
	} {
		attached, err := attach()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := attached.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// classifier is a program at tc that lets everything pass.
func classifier(t *testing.T, code asm.Instructions) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: append(code, asm.Mov.Imm(asm.R0, 0), asm.Return()), // TC_ACT_OK
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}
