// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/maps"
	"overcast/test/lab"
	"overcast/test/prog"
)

// newNeighborhood builds a world with a guest on each of these hosts, by number.
// configured: their addresses are, too.
func newNeighborhood(t *testing.T, options lab.Options, guest lab.GuestOptions, configured bool, hosts ...int) *world {
	t.Helper()
	w := &world{Lab: lab.NewTest(t, options), t: t}
	for i, n := range hosts {
		g := w.addGuest(w.Hosts[n], fmt.Sprintf("g%d", i+1), guest)
		if configured {
			w.configure(i, g.Options.Addresses[0].Addr(), g.Options.Addresses[1].Addr())
		}
	}
	t.Cleanup(w.explain)
	return w
}

// configure gives a port addresses.
func (w *world) configure(port int, ips ...netip.Addr) {
	texts := make([]string, len(ips))
	for i, ip := range ips {
		texts[i] = fmt.Sprintf("%q", ip)
	}
	w.ports[port] = strings.TrimSuffix(w.ports[port], "}") + ", ips: [" + strings.Join(texts, ", ") + "]}"
}

// wires records what the hosts send into the cloud.
func (w *world) wires() []*lab.Capture {
	w.t.Helper()
	var all []*lab.Capture
	for _, h := range w.Hosts {
		c, err := w.Capture(h.Namespace, lab.Uplink, h.Name)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// questions are the ARP requests and solicitations to many that are in the
// tunnel packets of captures, as "ARP 10.9.0.2" or "ND 2001:45::2". Each is
// there as often as it was recorded.
func questions(captures []*lab.Capture) map[string]int {
	asked := make(map[string]int)
	for _, c := range captures {
		for _, f := range c.Frames() {
			packet := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
			tunnel, ok := packet.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
			if !ok || tunnel.Payload[0]&1 == 0 {
				continue
			}
			inner := gopacket.NewPacket(tunnel.Payload, layers.LayerTypeEthernet, gopacket.Default)
			if arp, ok := inner.Layer(layers.LayerTypeARP).(*layers.ARP); ok && arp.Operation == layers.ARPRequest {
				asked["ARP "+net.IP(arp.DstProtAddress).String()]++
			}
			if ns, ok := inner.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok {
				asked["ND "+ns.TargetAddress.String()]++
			}
		}
	}
	return asked
}

// flush makes the guests forget whom they know.
func (w *world) flush(guests ...*lab.Guest) {
	w.t.Helper()
	for _, g := range guests {
		w.run(g.Namespace, "ip", "neigh", "flush", "dev", lab.GuestDevice)
	}
}

// knows returns what a guest has in its table for an address.
func (w *world) knows(g *lab.Guest, address string) string {
	w.t.Helper()
	return strings.TrimSpace(w.run(g.Namespace, "ip", "neigh", "show", "to", address, "dev", lab.GuestDevice))
}

// answered is how many questions a host has answered.
func (w *world) answered(h *lab.Host) uint64 {
	w.t.Helper()
	return w.drops(h)["DROP_NEIGHBOR_ANSWERED"]
}

// Guests find one another though no question crosses the cloud, where addresses
// are configured; where nothing is answered, every question does.
func TestNeighborAnswers(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
			t.Run(fmt.Sprintf("%s/%s", underlay, kind), func(t *testing.T) {
				w := newNeighborhood(t, lab.Options{Underlay: underlay}, lab.GuestOptions{Kind: kind}, true, 0, 1, 0)
				w.start()
				a, b := w.guests[0], w.guests[1]
				wires := w.wires()
				for _, address := range []string{"10.9.0.2", "10.9.0.3", "2001:45::2", "2001:45::3"} {
					w.flush(w.guests...)
					w.ping(a, address)
					owner := w.guests[int(address[len(address)-1]-'1')]
					if got := w.knows(a, address); !strings.Contains(got, "lladdr "+owner.MAC) {
						t.Errorf("%s knows %s as %q, and it is %s", a.Name, address, got, owner.MAC)
					}
				}
				w.ping(b, "10.9.0.1")
				w.ping(b, "2001:45::1")
				if got := questions(wires); len(got) > 0 {
					t.Errorf("questions crossed the cloud: %v", got)
				}
				if n := w.answered(w.Hosts[0]); n < 4 {
					t.Errorf("%s has answered %d questions, should be one for each address at least", w.Hosts[0].Name, n)
				}

				w.segment = "        neighbor_answers: false\n"
				w.write()
				for _, h := range w.Hosts {
					w.eventually("the segment of "+h.Name+" without answers", func() bool { return len(w.neighbors(h)) == 0 })
				}
				before := w.answered(w.Hosts[0])
				for range 2 { // nor is learned from the first
					w.flush(w.guests...)
					w.ping(a, "10.9.0.2")
					w.ping(a, "2001:45::2")
				}
				got := questions(wires)
				if got["ARP 10.9.0.2"] < 2 || got["ND 2001:45::2"] < 2 || w.answered(w.Hosts[0]) != before {
					t.Errorf("with answers off, only these questions crossed the cloud: %v; %d were answered", got, w.answered(w.Hosts[0])-before)
				}
				w.clean()
			})
		}
	}
}

// neighborRow is a row of `overcast neighbors`.
type neighborRow struct {
	Address, MAC, Source, Where, Router string
}

func (w *world) neighbors(h *lab.Host) []neighborRow {
	w.t.Helper()
	var rows []neighborRow
	w.cli(h, "neighbors", &rows)
	return rows
}

// Duplicate address detection finds a configured owner, and not oneself.
func TestDuplicateAddress(t *testing.T) {
	w := newNeighborhood(t, lab.Options{}, lab.GuestOptions{}, true, 0, 1)
	w.start()
	wires := w.wires()
	a, b := w.guests[0], w.guests[1]
	for _, g := range w.guests {
		if err := g.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/accept_dad", "1"); err != nil {
			t.Fatal(err)
		}
	}
	addresses := func(g *lab.Guest, flags ...string) string {
		return w.run(g.Namespace, "ip", append([]string{"-6", "addr", "show", "dev", lab.GuestDevice}, flags...)...)
	}
	// The owner is gone as far as the stack goes, and the address is still its own.
	w.run(b.Namespace, "ip", "addr", "del", "2001:45::2/64", "dev", lab.GuestDevice)
	w.run(a.Namespace, "ip", "addr", "add", "2001:45::2/64", "dev", lab.GuestDevice)
	w.eventually("the conflict", func() bool { return strings.Contains(addresses(a, "dadfailed"), "2001:45::2/64") })
	if got := questions(wires); got["ND 2001:45::2"] > 0 {
		t.Errorf("the detection of a configured address crossed the cloud: %v", got)
	}
	w.run(a.Namespace, "ip", "addr", "del", "2001:45::2/64", "dev", lab.GuestDevice)
	w.run(b.Namespace, "ip", "addr", "add", "2001:45::2/64", "dev", lab.GuestDevice)
	w.eventually("the owner's own address", func() bool {
		return strings.Contains(addresses(b), "2001:45::2/64") && !strings.Contains(addresses(b, "tentative"), "2001:45::2/64")
	})
	if strings.Contains(addresses(b, "dadfailed"), "2001:45::2/64") {
		t.Error("the owner cannot have its own address")
	}

	// One that is only learned is its owner's to defend.
	w.run(b.Namespace, "ip", "addr", "add", "2001:45::99/64", "dev", lab.GuestDevice, "nodad")
	w.ping(a, "2001:45::99")
	w.run(a.Namespace, "ip", "addr", "add", "2001:45::99/64", "dev", lab.GuestDevice)
	w.eventually("the owner's defence", func() bool { return strings.Contains(addresses(a, "dadfailed"), "2001:45::99/64") })
	if questions(wires)["ND 2001:45::99"] == 0 {
		t.Error("the detection of a learned address did not cross the cloud")
	}
	w.run(a.Namespace, "ip", "addr", "del", "2001:45::99/64", "dev", lab.GuestDevice)
	w.run(b.Namespace, "ip", "addr", "del", "2001:45::99/64", "dev", lab.GuestDevice)
	w.run(a.Namespace, "ip", "addr", "add", "2001:45::99/64", "dev", lab.GuestDevice)
	w.eventually("the address of one who has gone", func() bool {
		return strings.Contains(addresses(a), "2001:45::99/64") && !strings.Contains(addresses(a, "tentative"), "2001:45::99/64")
	})
	if strings.Contains(addresses(a, "dadfailed"), "2001:45::99/64") {
		t.Error("an address cannot be taken over from one who has gone")
	}
}

// mac is a guest's.
func (w *world) mac(g *lab.Guest) net.HardwareAddr {
	w.t.Helper()
	mac, err := net.ParseMAC(g.MAC)
	if err != nil {
		w.t.Fatal(err)
	}
	return mac
}

// learnedAt returns the MAC that a host has learned for an address.
func (w *world) learnedAt(h *lab.Host, ip netip.Addr) string {
	w.t.Helper()
	set, err := maps.Open(h.PinPath)
	if err != nil {
		w.t.Fatal(err)
	}
	defer set.Close()
	entries, err := set.LearnedNeighborEntries()
	if err != nil {
		w.t.Fatal(err)
	}
	for key, entry := range entries {
		if key.Addr.NetAddr() == ip {
			return net.HardwareAddr(entry.Mac[:]).String()
		}
	}
	return ""
}

// An address that moves is followed on every host at once, and reached where
// it is.
func TestAddressMoves(t *testing.T) {
	for i, decap := range []string{"xdp", "tc", "kernel", "xdp", "tc", "kernel"} {
		ip := []netip.Addr{netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("2001:45::100")}[i/3]
		t.Run(decap+"/"+ip.String(), func(t *testing.T) {
			w := newNeighborhood(t, lab.Options{Hosts: 3}, lab.GuestOptions{}, false, 0, 1, 2, 2)
			w.flags = []string{"--decap", decap}
			w.start()
			prefix := netip.PrefixFrom(ip, ip.BitLen()*3/4)
			asker := w.guests[2]
			owner := w.guests[0]
			if err := owner.AddAddress(lab.GuestDevice, prefix); err != nil {
				t.Fatal(err)
			}
			w.ping(asker, ip.String())
			// The two of the asker's host are answered by it.
			if ip.Is4() {
				wires := w.wires()
				w.ping(w.guests[3], ip.String())
				if got := questions(wires); got["ARP "+ip.String()] > 0 {
					t.Errorf("a question for a learned address crossed the cloud: %v", got)
				}
			}
			for _, next := range []*lab.Guest{w.guests[1], w.guests[3], w.guests[0]} {
				if err := owner.RemoveAddress(lab.GuestDevice, prefix); err != nil {
					t.Fatal(err)
				}
				moved := time.Now()
				w.announce(next, prefix)
				for _, h := range w.Hosts {
					w.eventually(fmt.Sprintf("%s at %s, on %s", ip, next.Name, h.Name), func() bool { return w.learnedAt(h, ip) == next.MAC })
				}
				took := time.Since(moved)
				w.flush(asker)
				w.ping(asker, ip.String())
				if got := w.knows(asker, ip.String()); !strings.Contains(got, "lladdr "+next.MAC) {
					t.Errorf("%s knows %s as %q, and it is at %s", asker.Name, ip, got, next.MAC)
				}
				t.Logf("moved to %s: known on every host after %v, reached after %v", next.Name, took, time.Since(moved))
				owner = next
			}
			w.clean()
		})
	}
}

// announce gives a guest an address, and has it say so: a stack does that for
// an IPv6 address that it is told to notify of, and for an IPv4 address only
// when the device comes up.
func (w *world) announce(g *lab.Guest, prefix netip.Prefix) {
	w.t.Helper()
	if prefix.Addr().Is6() {
		if err := g.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/ndisc_notify", "1"); err != nil {
			w.t.Fatal(err)
		}
		w.run(g.Namespace, "ip", "addr", "add", prefix.String(), "dev", lab.GuestDevice)
		return
	}
	if err := g.Sysctl("net/ipv4/conf/"+lab.GuestDevice+"/arp_notify", "1"); err != nil {
		w.t.Fatal(err)
	}
	w.run(g.Namespace, "ip", "addr", "add", prefix.String(), "dev", lab.GuestDevice)
	w.run(g.Namespace, "ip", "link", "set", lab.GuestDevice, "down")
	w.run(g.Namespace, "ip", "link", "set", lab.GuestDevice, "up")
}

// An owner that has gone without a word is not answered for any more when its
// time is up, nor one whose MAC nobody knows.
func TestSilentOwner(t *testing.T) {
	w := newNeighborhood(t, lab.Options{}, lab.GuestOptions{}, false, 0, 1, 0)
	w.start()
	ip := w.guests[1].Options.Addresses[1].Addr()
	w.ping(w.guests[0], ip.String())
	wires := w.wires()
	w.flush(w.guests[0])
	w.ping(w.guests[0], ip.String())
	if got := questions(wires); got["ARP "+ip.String()] > 0 {
		t.Errorf("a question for a learned address crossed the cloud: %v", got)
	}
	if err := w.guests[1].Detach(); err != nil {
		t.Fatal(err)
	}
	set, err := maps.Open(w.Hosts[0].PinPath)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	entries, err := set.LearnedNeighborEntries()
	if err != nil {
		t.Fatal(err)
	}
	for key, entry := range entries {
		if key.Addr.NetAddr() == ip {
			entry.Seen -= uint64(maps.NeighborAge)
			if err := set.LearnedNeighbors.Put(&key, &entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.silent(w.guests[2], ip.String())
	if got := questions(wires); got["ARP "+ip.String()] == 0 {
		t.Errorf("somebody was answered for who was not heard for long; what crossed the cloud: %v", got)
	}
	if got := w.knows(w.guests[2], ip.String()); strings.Contains(got, "lladdr") {
		t.Errorf("%s knows %s as %q, and it is gone", w.guests[2].Name, ip, got)
	}
}

// A guest that changes its MAC says so, and is answered for with the new one.
func TestLinkLayerAddressChange(t *testing.T) {
	w := newLearning(t, "auto")
	a, b := w.guests[0], w.guests[1]
	w.ping(a, "10.9.0.2")
	w.ping(a, "2001:45::2")
	for key, value := range map[string]string{"net/ipv4/conf/eth0/arp_notify": "1", "net/ipv6/conf/eth0/ndisc_notify": "1"} {
		if err := b.Sysctl(key, value); err != nil {
			t.Fatal(err)
		}
	}
	const changed = "02:00:00:00:00:77"
	w.run(b.Namespace, "ip", "link", "set", lab.GuestDevice, "address", changed)
	for _, text := range []string{"10.9.0.2", "2001:45::2"} {
		ip := netip.MustParseAddr(text)
		for _, h := range w.Hosts {
			w.eventually(fmt.Sprintf("the new MAC of %s on %s", ip, h.Name), func() bool { return w.learnedAt(h, ip) == changed })
		}
		w.flush(w.guests[2])
		before := w.answered(w.Hosts[0])
		w.ping(w.guests[2], text)
		if got := w.knows(w.guests[2], text); !strings.Contains(got, "lladdr "+changed) {
			t.Errorf("%s knows %s as %q, should be at %s", w.guests[2].Name, ip, got, changed)
		}
		if w.answered(w.Hosts[0]) == before {
			t.Errorf("the question for %s was not answered on the way", ip)
		}
	}
}

// linkLocal is the address that a stack makes of a guest's MAC.
func (w *world) linkLocal(g *lab.Guest) netip.Addr {
	w.t.Helper()
	mac := w.mac(g)
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// An answer in a router's name does not take it off the list of default routers
// (RFC 4861 7.2.5), whether its address is configured or was learned.
func TestRouterStays(t *testing.T) {
	for _, configured := range []bool{true, false} {
		t.Run(fmt.Sprintf("configured=%t", configured), func(t *testing.T) {
			w := newNeighborhood(t, lab.Options{}, lab.GuestOptions{}, true, 0, 1, 0)
			host, router := w.guests[0], w.guests[1]
			gateway := w.linkLocal(router)
			if configured {
				w.ports[1] = fmt.Sprintf("{name: g2, host: host-b, interface: %s, mac: %q, ips: [%q, %q]}", router.Port, router.MAC, gateway, "2001:45::2")
			}
			w.start()
			for _, setting := range []struct {
				guest      *lab.Guest
				key, value string
			}{
				{router, "net/ipv6/conf/all/forwarding", "1"},
				{host, "net/ipv6/conf/" + lab.GuestDevice + "/accept_ra", "1"},
				{host, "net/ipv6/conf/" + lab.GuestDevice + "/accept_ra_defrtr", "1"},
			} {
				if err := setting.guest.Sysctl(setting.key, setting.value); err != nil {
					t.Fatal(err)
				}
			}
			advertise := func() {
				all := prog.Station{MAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, IP: netip.MustParseAddr("ff02::1")}
				frame := prog.RouterAdvertisement(prog.Station{MAC: w.mac(router), IP: gateway}, all, 1800, prog.LinkOption(layers.ICMPv6OptSourceAddress, w.mac(router)))
				if err := router.SendFrame(lab.GuestDevice, frame); err != nil {
					t.Fatal(err)
				}
			}
			route := func() string { return w.run(host.Namespace, "ip", "-6", "route", "show", "default") }
			advertise()
			w.eventually("the default route", func() bool { return strings.Contains(route(), "via "+gateway.String()) })

			// Another guest resolves the router, which has been heard of.
			w.ping(w.guests[2], gateway.String()+"%"+lab.GuestDevice)
			for range 3 {
				before := w.answered(w.Hosts[0])
				w.run(host.Namespace, "ip", "neigh", "del", gateway.String(), "dev", lab.GuestDevice)
				advertise() // or the entry would not be a router's
				w.eventually("the router", func() bool { return strings.Contains(w.knows(host, gateway.String()), "router") })
				// What a stack asks when it is unsure and does not want to ask the owner alone.
				ask := prog.Solicitation(prog.Station{MAC: w.mac(host), IP: w.linkLocal(host)}, prog.SolicitedNode(gateway), gateway, prog.LinkOption(layers.ICMPv6OptSourceAddress, w.mac(host)))
				if err := host.SendFrame(lab.GuestDevice, ask); err != nil {
					t.Fatal(err)
				}
				w.eventually("the answer", func() bool { return w.answered(w.Hosts[0]) > before })
				w.ping(host, gateway.String()+"%"+lab.GuestDevice)
				if got := route(); !strings.Contains(got, "via "+gateway.String()) {
					t.Fatalf("the default route is %q after an answer in the router's name; the neighbour is %q", got, w.knows(host, gateway.String()))
				}
			}
			rows := w.neighbors(w.Hosts[0])
			if !slices.ContainsFunc(rows, func(r neighborRow) bool { return r.Address == gateway.String() && r.Router == "yes" }) {
				t.Errorf("%s is not shown as a router: %+v", gateway, rows)
			}
		})
	}
}

// The command line and the counters tell what is known and answered.
func TestNeighborsAreShown(t *testing.T) {
	w := newNeighborhood(t, lab.Options{}, lab.GuestOptions{}, true, 0, 1)
	w.start()
	w.run(w.guests[1].Namespace, "ip", "addr", "add", "10.9.0.200/24", "dev", lab.GuestDevice)
	w.ping(w.guests[0], "10.9.0.200")
	rows := w.neighbors(w.Hosts[0])
	for _, want := range []neighborRow{
		{"10.9.0.1", w.guests[0].MAC, "configured", "shop/lan/g1", "unknown"},
		{"10.9.0.2", w.guests[1].MAC, "configured", "host-b", "unknown"},
		{"10.9.0.200", w.guests[1].MAC, "learned", "host-b", "unknown"},
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("%+v is not in %+v", want, rows)
		}
	}
}
