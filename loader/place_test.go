// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// running is a datapath of testState in the namespace of the test, with u0 as
// uplink and p1 as port.
func running(t *testing.T, path string, decap Decap, tcx bool) *Datapath {
	t.Helper()
	addDevice(t, "u0", 1500, "192.0.2.1/24")
	addDevice(t, "p1", 1450)
	d := startDatapath(t, path, testLimits, nil)
	t.Cleanup(d.Close)
	d.opts.Decap, d.hooks.tcx = decap, tcx
	if err := d.Apply(testState()); err != nil {
		t.Fatal(err)
	}
	return d
}

// inPlace checks that every program is where it should be, once, and pinned,
// as are the maps.
func inPlace(t *testing.T, what string, d *Datapath) {
	t.Helper()
	for name, programs := range map[string][]string{"u0": {bpf.UplinkIn, bpf.UplinkXDP}, "p1": {bpf.PortIn}, TunnelDevice: {bpf.TunnelIn}} {
		device, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, program := range programs {
			at := place{program, uint32(device.Attrs().Index)}
			if holds, err := d.hooks.holds(at, d.programs[program]); err != nil || !holds {
				t.Errorf("%s: %s is not on %s: %v", what, program, name, err)
			}
		}
		if n := len(attachedPrograms(t, &d.hooks, device)); n != 1 {
			t.Errorf("%s: %d programs at the tc ingress of %s", what, n, name)
		}
	}
	pinned, err := maps.Open(d.opts.PinPath)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer pinned.Close()
	if diff := cmp.Diff(mapIDs(t, d.Maps()), mapIDs(t, pinned)); diff != "" {
		t.Errorf("%s: pinned are others than are in use (-in use +pinned):\n%s", what, diff)
	}
	if problems := d.Problems(); len(problems) > 0 {
		t.Errorf("%s: %q", what, problems)
	}
}

// Whatever others take away of programs and pins is back after a refresh, and
// what they left is not touched.
func TestRefreshPutsBack(t *testing.T) {
	for name, tcx := range map[string]bool{"tcx": true, "clsact": false} {
		if tcx && !hasTCX(t) {
			continue // see TestHooks
		}
		t.Run(name, func(t *testing.T) {
			enterNamespace(t)
			path := newPinPath(t)
			d := running(t, path, DecapXDP, tcx)
			inPlace(t, "at first", d)
			pinOf := func(program, device string) string {
				l, err := netlink.LinkByName(device)
				if err != nil {
					t.Fatal(err)
				}
				return place{program, uint32(l.Attrs().Index)}.pin(path)
			}
			for _, c := range []struct {
				name string
				harm func() error
			}{
				{"nothing", func() error { return nil }},
				{"the XDP link", func() error { return os.Remove(pinOf(bpf.UplinkXDP, "u0")) }},
				{"all pins", func() error { return os.RemoveAll(path) }},
				{"a map", func() error { return os.Remove(filepath.Join(path, "oc_ports")) }},
				{"everything", func() error { return Unload(path, t.TempDir()) }},
				{"a tc program", func() error {
					if tcx {
						return os.Remove(pinOf(bpf.PortIn, "p1"))
					}
					l, err := netlink.LinkByName("p1")
					if err != nil {
						return err
					}
					return netlink.FilterDel(clsactFilter(place{bpf.PortIn, uint32(l.Attrs().Index)}, -1))
				}},
				{"a link, not its pin", func() error {
					l, err := link.LoadPinnedLink(pinOf(bpf.UplinkXDP, "u0"), nil)
					if err != nil {
						return err
					}
					defer l.Close()
					return l.Detach()
				}},
				{"the tunnel device", func() error {
					l, err := netlink.LinkByName(TunnelDevice)
					if err != nil {
						return err
					}
					return netlink.LinkDel(l)
				}},
			} {
				if err := c.harm(); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if err := d.Refresh(); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
				inPlace(t, c.name, d)
				if l, err := netlink.LinkByName(TunnelDevice); err != nil || l.Attrs().Flags&1 == 0 {
					t.Errorf("%s: the tunnel device is not up: %v", c.name, err)
				}
			}
			if err := Unload(path, t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A link that has lost its pin while somebody else has it open is pinned
// again: the program was there all the time.
func TestLinkIsAdopted(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapXDP, hasTCX(t))
	for _, program := range []string{bpf.UplinkXDP, bpf.UplinkIn} {
		if program == bpf.UplinkIn && !d.hooks.tcx {
			continue // a filter has no link
		}
		at := place{program, d.uplinks[0].ifindex}
		held, err := link.LoadPinnedLink(at.pin(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		before, err := held.Info()
		if err == nil {
			err = os.Remove(at.pin(path))
		}
		if err == nil {
			err = d.Refresh()
		}
		if err != nil {
			t.Fatal(err)
		}
		inPlace(t, program, d)
		again, err := link.LoadPinnedLink(at.pin(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		after, err := again.Info()
		again.Close()
		if err != nil || after.ID != before.ID {
			t.Errorf("%s: link %d became %v, %v", program, before.ID, after, err)
		}
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

func hasTCX(t *testing.T) bool {
	t.Helper()
	features, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	return features.TCX
}

// Another datapath's programs stay, and are an error that says where they are
// from; when they are gone, ours come.
func TestStrangers(t *testing.T) {
	for name, tcx := range map[string]bool{"tcx": true, "clsact": false} {
		if tcx && !hasTCX(t) {
			continue
		}
		for _, decap := range []Decap{DecapTC, DecapXDP} {
			t.Run(name+"/"+string(decap), func(t *testing.T) {
				enterNamespace(t)
				first, second := newPinPath(t), newPinPath(t)
				old := running(t, first, decap, tcx)
				d := startDatapath(t, second, testLimits, nil)
				defer d.Close()
				d.opts.Decap, d.hooks.tcx = DecapTC, tcx
				err := d.Apply(testState())
				var refusal *RefusalError
				if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "p1 has oc_port_in of the datapath at "+first+": unload that first (overcast unload --pin-path "+first+")") {
					t.Errorf("got %v", err)
				}
				if decap == DecapXDP && (err == nil || !strings.Contains(err.Error(), "u0 has oc_uplink_xdp of the datapath at "+first)) {
					t.Errorf("got %v", err)
				}
				old.opts.Decap = decap
				if err := old.Refresh(); err != nil {
					t.Error(err)
				}
				if tcx {
					if got := len(attachedPrograms(t, &old.hooks, mustLink(t, "p1"))); got != 1 {
						t.Errorf("%d programs on p1", got)
					}
				}
				if got := pins(t, second); len(got) != 0 {
					t.Errorf("the one that was refused pinned %v", got)
				}
				old.hooks.tcx = tcx
				unloadBy(t, &old.hooks)
				if err := d.Apply(testState()); err != nil {
					t.Error(err)
				}
				unloadBy(t, &d.hooks)
			})
		}
	}
}

// unloadBy takes away what hooks have put there, however they attach.
func unloadBy(t *testing.T, h *hooks) {
	t.Helper()
	places, err := h.attached()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range places {
		if err := h.detach(at); err != nil {
			t.Error(err)
		}
	}
}

func mustLink(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Programs tell their datapath by their maps: each of them uses the mark.
func TestEveryProgramHasTheMark(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapXDP, hasTCX(t))
	for name, program := range d.collection.Programs {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		got, used, err := programMaps(id)
		if err != nil || got != name || !slices.Contains(used, d.hooks.mark) || d.hooks.mark == ebpf.MapID(0) {
			t.Errorf("%s: name %q, maps %v, %v; want map %d among them", name, got, used, err, d.hooks.mark)
		}
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A tunnel device that somebody has renamed gets its name again; one that no
// agent knows is named.
func TestTunnelIsRenamed(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	ifindex := mustLink(t, TunnelDevice).Attrs().Index
	rename := func() {
		t.Helper()
		l := mustLink(t, TunnelDevice)
		if err := netlink.LinkSetDown(l); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetName(l, "mine0"); err != nil {
			t.Fatal(err)
		}
	}
	rename()
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	l := mustLink(t, TunnelDevice)
	if l.Attrs().Index != ifindex || l.Attrs().Flags&1 == 0 {
		t.Errorf("the tunnel device is %+v", l.Attrs())
	}
	rename()
	if _, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0); err == nil || !strings.Contains(err.Error(), "UDP port 4789 is held by the VXLAN device mine0") {
		t.Errorf("got %v", err)
	}
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	if err := Unload(path, t.TempDir()); err != nil {
		t.Error(err)
	}
}
