// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"overcast/test/lab"
)

// portState is what `overcast ports` says of a port.
type portState struct {
	Port, Interface, State string
	Ifindex                int
	InPackets              uint64 `json:"in_packets"`
}

func (w *world) port(h *lab.Host, name string) portState {
	w.t.Helper()
	var rows []portState
	w.cli(h, "ports", &rows)
	for _, row := range rows {
		if row.Port == "shop/lan/"+name {
			return row
		}
	}
	w.t.Fatalf("%s has no port %s: %v", h.Name, name, rows)
	return portState{}
}

// up tells whether a host has a port, behind this device.
func (w *world) up(h *lab.Host, name, device string) bool {
	w.t.Helper()
	var rows []portState
	w.cli(h, "ports", &rows)
	return slices.ContainsFunc(rows, func(p portState) bool {
		return p.Port == "shop/lan/"+name && p.Interface == device && p.State == "up"
	})
}

// A port's interface may come after its configuration, vanish, and return
// under another index; nobody takes over its MAC meanwhile, other flows lose
// nothing, and its counters go on.
func TestPortsComeAndGo(t *testing.T) {
	for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{})
			f := w.flow()
			late := w.addGuest(w.Hosts[0], "late", lab.GuestOptions{Kind: kind})
			if err := late.Detach(); err != nil {
				t.Fatal(err)
			}
			w.rewrite()
			if p := w.port(w.Hosts[0], "late"); p.State != "missing" {
				t.Errorf("a port without a device is %s", p.State)
			}
			// Its MAC stays its own.
			thief := frame("ff:ff:ff:ff:ff:ff", late.MAC, 0x88, 0xb5)
			if err := w.guests[0].SendFrame(lab.GuestDevice, thief); err != nil {
				t.Fatal(err)
			}
			w.eventually("the drop", func() bool { return w.drops(w.Hosts[0])["DROP_PORT_SPOOF"] == 1 })
			lost := frame(late.MAC, w.guests[0].MAC, 0x88, 0xb5)
			if err := w.guests[0].SendFrame(lab.GuestDevice, lost); err != nil {
				t.Fatal(err)
			}
			w.eventually("the drop", func() bool { return w.drops(w.Hosts[0])["DROP_PORT_GONE"] == 1 })

			last := 0
			for range 3 {
				if err := late.Attach(); err != nil {
					t.Fatal(err)
				}
				w.eventually("the port", func() bool { return w.port(w.Hosts[0], "late").State == "up" })
				w.ping(late, "2001:45::2")
				w.ping(w.guests[1], "10.9.0.3")
				p := w.port(w.Hosts[0], "late")
				if p.Ifindex == last {
					t.Errorf("the interface did not return under another index than %d", last)
				}
				last = p.Ifindex
				if err := late.Detach(); err != nil {
					t.Fatal(err)
				}
				w.eventually("its end", func() bool { return w.port(w.Hosts[0], "late").State == "missing" })
				if after := w.port(w.Hosts[0], "late"); after.InPackets < p.InPackets {
					t.Errorf("the counter went back from %d to %d", p.InPackets, after.InPackets)
				}
			}
			w.whole("while a port came and went", f)
			w.clean()
		})
	}
}

// A port's device may come while its document is being applied, when the machine
// has been looked at already.
func TestPortsComeWithTheirDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	g := w.guests[0]
	// So many that it takes its time.
	for i := range 2000 {
		w.ports = append(w.ports, fmt.Sprintf("{name: m%d, host: host-a, interface: m%d, mac: \"02:00:00:01:%02x:%02x\"}", i, i, i>>8, i&0xff))
	}
	w.rewrite()
	for i := range 4 {
		port := fmt.Sprintf("late%d", i)
		if err := g.Detach(); err != nil {
			t.Fatal(err)
		}
		w.ports[0] = fmt.Sprintf("{name: g1, host: host-a, interface: %s, mac: %q}", port, g.MAC)
		before := w.status(w.Hosts[0]).Config.Applied
		w.write()
		w.eventually("the document", func() bool {
			_, err := os.Stat(filepath.Join(w.Hosts[0].RunDir, "applying.json"))
			return err == nil || w.status(w.Hosts[0]).Config.Applied != before
		})
		g.Port = port
		if err := g.Attach(); err != nil {
			t.Fatal(err)
		}
		w.eventually("the port "+port, func() bool { return w.up(w.Hosts[0], "g1", port) })
	}
}

// A device that is renamed away from a port's name leaves the segment, and one
// that takes the name joins it.
func TestPortsAreRenamed(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	g := w.guests[0]
	w.ping(g, "2001:45::2")
	if err := w.Hosts[0].LinkRename(g.Port, "other"); err != nil {
		t.Fatal(err)
	}
	w.eventually("its end", func() bool { return w.port(w.Hosts[0], "g1").State == "missing" })
	w.silent(g, "2001:45::2")
	if err := w.Hosts[0].LinkRename("other", g.Port); err != nil {
		t.Fatal(err)
	}
	w.eventually("the port", func() bool { return w.port(w.Hosts[0], "g1").State == "up" })
	w.ping(g, "2001:45::2")
}
