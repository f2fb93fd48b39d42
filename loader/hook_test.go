// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"overcast/bpf"
	"overcast/policy"
)

func TestPlaceNames(t *testing.T) {
	for _, at := range []place{{bpf.PortIn, 1}, {bpf.UplinkXDP, 4294967295}, {bpf.UplinkIn, 7}, {bpf.TunnelIn, 7}} {
		if got, ok := placeOf(filepath.Base(at.pin("/x"))); !ok || got != at {
			t.Errorf("%+v became %+v, %t", at, got, ok)
		}
	}
	// What others pin is not ours to detach.
	for _, name := range []string{"", "oc_port_in", "oc_port_in-", "oc_port_in-x", "oc_port_in-4294967296", "oc_port_in--1", "cil_from_host-3", "oc_port_in-1-new"} {
		if got, ok := placeOf(name); ok {
			t.Errorf("%q is %+v", name, got)
		}
	}
}

// newProgram is a program that does nothing.
func newProgram(t *testing.T, kind ebpf.ProgramType) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: kind, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}

func programID(t *testing.T, p *ebpf.Program) ebpf.ProgramID {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

// attachedPrograms are the ids of the programs at a device's tc ingress.
func attachedPrograms(t *testing.T, h *hooks, device netlink.Link) []ebpf.ProgramID {
	t.Helper()
	var ids []ebpf.ProgramID
	if h.tcx {
		result, err := link.QueryPrograms(link.QueryOptions{Target: device.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range result.Programs {
			ids = append(ids, p.ID)
		}
		return ids
	}
	filters, err := netlink.FilterList(device, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil // no qdisc
	}
	for _, f := range filters {
		ids = append(ids, ebpf.ProgramID(f.(*netlink.BpfFilter).Id))
	}
	return ids
}

// Both ways to attach do the same: programs stay without us, are replaced in
// place, listed, and taken away; a device that came back under the same index
// is a new one.
func TestHooks(t *testing.T) {
	for name, tcx := range map[string]bool{"tcx": true, "clsact": false} {
		t.Run(name, func(t *testing.T) {
			features, err := Probe()
			if err != nil {
				t.Fatal(err)
			}
			if tcx && !features.TCX {
				return // there is nothing to attach with on this kernel, and the probe's own test says so
			}
			enterNamespace(t)
			path := newPinPath(t)
			if err := ensurePinPath(path); err != nil {
				t.Fatal(err)
			}
			h := &hooks{pinPath: path, tcx: tcx}
			device := addDevice(t, "d0", 1500)
			at := place{bpf.PortIn, uint32(device.Attrs().Index)}
			first, second := newProgram(t, ebpf.SchedCLS), newProgram(t, ebpf.SchedCLS)
			expect := func(wantPlaces []place, wantPrograms ...*ebpf.Program) {
				t.Helper()
				places, err := h.attached()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(wantPlaces, places, cmp.AllowUnexported(place{}), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("places (-want +got):\n%s", diff)
				}
				var want []ebpf.ProgramID
				for _, p := range wantPrograms {
					want = append(want, programID(t, p))
				}
				if diff := cmp.Diff(want, attachedPrograms(t, h, device), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("programs on the device (-want +got):\n%s", diff)
				}
			}
			expect(nil)
			attach := func(p *ebpf.Program) {
				t.Helper()
				if err := h.attach(at, p); err != nil {
					t.Fatal(err)
				}
			}
			attach(first)
			expect([]place{at}, first)
			attach(second) // in its stead, not beside it
			expect([]place{at}, second)

			// Another agent's hooks find what this one has left.
			h = &hooks{pinPath: path, tcx: tcx}
			attach(first)
			expect([]place{at}, first)
			for range 2 { // it may be gone
				if err := h.detach(at); err != nil {
					t.Fatal(err)
				}
				expect(nil)
			}

			// The device goes and another gets its index.
			attach(first)
			index := device.Attrs().Index
			if err := netlink.LinkDel(device); err != nil {
				t.Fatal(err)
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.Index = "d1", index
			device = addPair(t, attrs)
			attach(second)
			expect([]place{at}, second)
			if err := netlink.LinkDel(device); err != nil {
				t.Fatal(err)
			}
			if err := h.detach(at); err != nil {
				t.Errorf("detaching from a device that is gone: %v", err)
			}
			if places, err := h.attached(); err != nil || len(places) != 0 {
				t.Errorf("left %v, %v", places, err)
			}
			if err := h.attach(at, first); err == nil {
				t.Error("a program was attached to a device that is gone")
			}
		})
	}
}

// A program of somebody else at the same device stays.
func TestClsactLeavesOthers(t *testing.T) {
	enterNamespace(t)
	device := addDevice(t, "d0", 1500)
	h := &hooks{pinPath: filepath.Join(t.TempDir(), "none")}
	at := place{bpf.PortIn, uint32(device.Attrs().Index)}
	ours, theirs := newProgram(t, ebpf.SchedCLS), newProgram(t, ebpf.SchedCLS)
	if err := h.attach(at, ours); err != nil {
		t.Fatal(err)
	}
	other := clsactFilter(at, theirs.FD())
	other.Name, other.Handle, other.Priority = "theirs", 1, 2
	if err := netlink.FilterAdd(other); err != nil {
		t.Fatal(err)
	}
	if places, err := h.attached(); err != nil || len(places) != 1 || places[0] != at {
		t.Errorf("ours are %v, %v; want %v alone", places, err, at)
	}
	if err := h.detach(at); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ebpf.ProgramID{programID(t, theirs)}, attachedPrograms(t, h, device)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestXDPHook(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	if err := ensurePinPath(path); err != nil {
		t.Fatal(err)
	}
	h := &hooks{pinPath: path, tcx: true}
	addDevice(t, "v0", 1500)
	device := linkUp(t, "v0")
	at := place{bpf.UplinkXDP, uint32(device.Attrs().Index)}
	if err := h.attach(at, newProgram(t, ebpf.XDP)); err != nil {
		t.Fatal(err)
	}
	hasXDP := func() bool {
		link, err := netlink.LinkByName("v0")
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().Xdp != nil && link.Attrs().Xdp.Attached
	}
	if !hasXDP() {
		t.Error("there is no XDP program on the device")
	}
	if err := h.detach(at); err != nil || hasXDP() {
		t.Errorf("the XDP program stayed: %v", err)
	}
	if _, err := os.Stat(at.pin(path)); err == nil {
		t.Error("the pin stayed")
	}
	// Native or not at all.
	tunnel, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.attach(place{bpf.UplinkXDP, uint32(tunnel.Attrs().Index)}, newProgram(t, ebpf.XDP)); err == nil {
		t.Error("a device without native XDP took the program")
	}
}
