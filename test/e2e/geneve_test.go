// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

const geneve = "tunnel: {encapsulation: geneve}\n"

// hasGeneve tells whether the kernel has a device for Geneve; where it has none
// only what is plain is carried.
func hasGeneve(t *testing.T, n *lab.Namespace) bool {
	t.Helper()
	has, err := n.HasGeneve()
	if err != nil {
		t.Fatal(err)
	}
	return has
}

// speakGeneve would have the hosts of a lab speak Geneve, with a guest each.
func speakGeneve(t *testing.T, l *lab.Lab, decap string) *world {
	t.Helper()
	w := buildWorld(t, l, lab.GuestOptions{}, "--decap", decap)
	w.tunnel = geneve
	return w
}

// Guests reach each other over Geneve, over both underlays, in every decap mode
// that the kernel can carry it in, and what crosses is Geneve to port 6081.
func TestGeneve(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"auto", "xdp", "tc", "kernel"} {
			for _, wire := range []lab.Wire{lab.SuperFrames, lab.NoOffloads} {
				t.Run(fmt.Sprintf("%s/%s/%s", underlay, decap, wire), func(t *testing.T) {
					l := lab.NewTest(t, lab.Options{Underlay: underlay, Wire: wire})
					has := hasGeneve(t, l.Hosts[0].Namespace)
					// At tc a super-frame of the wire needs the device.
					if !has && (decap == "kernel" || decap == "tc" && wire == lab.SuperFrames) {
						refusesMode(t, l, decap)
						return
					}
					w := speakGeneve(t, l, decap)
					w.start()
					wire, err := w.Capture(w.Hosts[0].Namespace, lab.Uplink, "the uplink")
					if err != nil {
						t.Fatal(err)
					}
					w.ping(w.guests[0], "2001:45::2")
					w.ping(w.guests[1], "10.9.0.1")
					wire.Stop()
					// Three pings one way and three answers the other; what comes in XDP has
					// stripped before it is captured.
					if n := countGeneve(t, wire, 4500); n < 6 {
						t.Errorf("%d packets of Geneve on the wire, should be 6 or more", n)
					}
					transfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
					transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
					if has {
						w.noDrops()
					} else {
						w.onlyDeviceMissing()
					}
					w.clean()
				})
			}
		}
	}
}

// The encapsulation may change while agents run: when all hosts have the new
// document guests reach each other again, and back; what comes in the other one
// is a stranger's to the programs.
func TestEncapsulationChanges(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		t.Run(underlay.String(), func(t *testing.T) {
			t.Parallel()
			w := buildWorld(t, lab.NewTest(t, lab.Options{Underlay: underlay}), lab.GuestOptions{})
			w.tunnel = "tunnel: {probe_interval: 1s}\n"
			w.start()
			w.ping(w.guests[0], "2001:45::2")
			for _, tunnel := range []string{"geneve", "vxlan", "geneve, port: 16081", "vxlan, checksum: true"} {
				w.tunnel = fmt.Sprintf("tunnel: {encapsulation: %s, probe_interval: 1s}\n", tunnel)
				w.rewrite()
				w.ping(w.guests[0], "2001:45::2")
				w.ping(w.guests[1], "10.9.0.1")
				for i, h := range w.Hosts {
					name := w.Hosts[1-i].Name
					w.answers(h, name, true)
					w.troubled(h, name, "")
				}
			}
			w.clean()
		})
	}
}

// onlyDeviceMissing checks that nothing was dropped but what needs the kernel's
// device, as frames do that are not IP, until the next hop's MAC is known.
func (w *world) onlyDeviceMissing() {
	w.t.Helper()
	for _, h := range w.Hosts {
		for reason, n := range w.drops(h) {
			if reason != "DROP_DEVICE_MISSING" {
				w.t.Errorf("%s: %d frames dropped as %s", h.Name, n, reason)
			}
		}
	}
}

// refusesMode checks what is said of a mode that needs the kernel's device where
// there is none: that it cannot be, or what is lost by it.
func refusesMode(t *testing.T, l *lab.Lab, decap string) {
	t.Helper()
	w := speakGeneve(t, l, decap)
	if decap == "kernel" {
		w.write()
		_, err := w.Hosts[0].StartAgent(overcastd, w.agentFlags()...)
		const want = "decap kernel: no Geneve device on this kernel: set decap to auto, or tunnel.encapsulation to vxlan for all hosts"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the agent's end: %v; should be %q", err, want)
		}
		return
	}
	w.start()
	status := w.run(w.Hosts[0].Namespace, overcast, "status", "--pin-path", w.Hosts[0].PinPath, "--run-dir", w.Hosts[0].RunDir)
	for _, want := range []string{"geneve, UDP port 6081, no device", "no Geneve device on this kernel"} {
		if !strings.Contains(status, want) {
			t.Errorf("overcast status does not say %q:\n%s", want, status)
		}
	}
}

// countGeneve counts the packets of Geneve with this VNI that a capture has.
func countGeneve(t *testing.T, c *lab.Capture, vni uint32) int {
	t.Helper()
	n := 0
	for _, f := range c.Frames() {
		packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || udp.DstPort != 6081 {
			continue
		}
		g, ok := packet.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
		if !ok || g.VNI != vni || g.Version != 0 || g.OAMPacket || g.CriticalOption || len(g.Options) != 0 {
			t.Errorf("a packet to port 6081 that is no plain Geneve of VNI %d: %v", vni, packet)
			continue
		}
		n++
	}
	return n
}

// A host of ours and a Geneve device of the kernel's carry every kind of frame
// and large transfers in both directions.
func TestKernelGeneve(t *testing.T) {
	if !hasGeneve(t, lab.NewTest(t, lab.Options{}).Hosts[0].Namespace) {
		t.Skip("this kernel has no Geneve device")
	}
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay, Hosts: 1}), t: t, flags: []string{"--decap", decap}, tunnel: geneve}
				w.addGuest(w.Hosts[0], "ours", lab.GuestOptions{})
				w.mix(lab.ForeignOptions{Geneve: true}, lab.GuestOptions{})
				w.start()
				w.exchangeEverything()
			})
		}
	}
}
