// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/test/lab"
)

// Neighbours are found with the first packet, as soon as the agents are ready
// and when pruning has set in, with a querier in the segment and without one; a
// new address too; and a duplicate one is detected.
func TestNeighbourDiscovery(t *testing.T) {
	t.Parallel()
	for _, querier := range []bool{true, false} {
		t.Run(fmt.Sprintf("querier=%t", querier), func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 4, fmt.Sprintf("%s, querier: %t", quick, querier))
			p.segment += "        neighbor_answers: false\n"
			p.start()
			once := func(from *lab.Guest, address string) {
				t.Helper()
				p.run(from.Namespace, "ping", "-6", "-n", "-c", "1", "-W", "5", address)
			}
			everybody := func() {
				for _, from := range p.guests {
					p.run(from.Namespace, "ip", "-6", "neigh", "flush", "dev", lab.GuestDevice)
					for i := range p.guests {
						if p.guests[i] != from {
							once(from, fmt.Sprintf("2001:45::%d", i+1))
						}
					}
				}
			}
			everybody()
			// Solicited-node groups are pruned towards ports, where somebody asks for
			// memberships, and are not told to other hosts. This one is g2's.
			p.loose = true
			s := p.send(p.guest(4), "ff02::1:ff00:2")
			if querier {
				p.reaches(s, p.pick(1, 2, 3)...)
			} else {
				p.reaches(s, p.others(p.guest(4))...)
			}
			everybody()
			if err := p.guest(4).AddAddress(lab.GuestDevice, netip.MustParsePrefix("2001:45::4545/64")); err != nil {
				t.Fatal(err)
			}
			once(p.guest(1), "2001:45::4545")
			once(p.guest(2), "2001:45::4545")
			for _, g := range p.pick(1, 2) {
				if err := g.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/accept_dad", "1"); err != nil {
					t.Fatal(err)
				}
				p.run(g.Namespace, "ip", "address", "add", "2001:45::4545/64", "dev", lab.GuestDevice)
				p.eventually("g4's being found by "+g.Name, func() bool {
					return strings.Contains(p.run(g.Namespace, "ip", "address", "show", "dev", lab.GuestDevice), "dadfailed")
				})
			}
			p.clean()
		})
	}
}

// launch starts a program in a guest; it ends with the lab.
func (w *world) launch(g *lab.Guest, name string, args ...string) *lab.Process {
	w.t.Helper()
	process, err := g.StartLogged(filepath.Base(name)+".log", exec.Command(name, args...))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("%s: %s\n%s", g.Name, name, process.Log())
		}
	})
	return process
}

// file writes a file into the lab's folder and returns its path.
func (w *world) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// startAvahi starts a responder of mDNS in a guest. Its socket is at a fixed
// path, so each has a /run of its own.
func (p *party) startAvahi(g *lab.Guest, ipv4, ipv6 string) *lab.Process {
	config := p.file(g.Name+"-avahi.conf", fmt.Sprintf(`[server]
host-name=%s
use-ipv4=%s
use-ipv6=%s
enable-dbus=no
allow-interfaces=%s
[publish]
publish-hinfo=no
publish-workstation=no
`, g.Name, ipv4, ipv6, lab.GuestDevice))
	return p.launch(g, "unshare", "--mount", "sh", "-c",
		"mount -t tmpfs tmpfs /run && mkdir /run/avahi-daemon && exec avahi-daemon --no-drop-root --no-rlimits --no-chroot -f "+config)
}

// resolve asks a guest's avahi for an address, by its simple protocol
// (avahi-daemon/simple-protocol.c).
func resolve(avahi *lab.Process, question string) string {
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/%d/root/run/avahi-daemon/socket", avahi.PID()))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, question); err != nil {
		return err.Error()
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(answer)
}

// mDNS (avahi) resolves names across hosts. ff02::fb goes to those that speak
// it and to nobody else; 224.0.0.251 is of the groups that go to everybody.
func TestMulticastDNS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ family, ipv4, ipv6, address, group string }{
		{"IPv6", "no", "yes", "2001:45::2", "ff02::fb"},
		{"IPv4", "yes", "no", "10.9.0.2", "224.0.0.251"},
	} {
		t.Run(c.family, func(t *testing.T) {
			t.Parallel()
			p := newParty(t, lab.Options{Hosts: 2}, 6, quick)
			p.start()
			// g1 and g3 are on host a, g2 on host b.
			var avahis []*lab.Process
			for _, g := range p.pick(1, 2, 3) {
				avahis = append(avahis, p.startAvahi(g, c.ipv4, c.ipv6))
			}
			s := p.send(p.guest(5), c.group)
			if c.family == "IPv6" {
				p.reaches(s, p.pick(1, 2, 3)...)
			} else {
				p.reaches(s, p.others(p.guest(5))...)
			}
			deaf := p.capture(p.guest(6))
			for _, i := range []int{0, 2} {
				var answer string
				t.Cleanup(func() { t.Logf("avahi's answer: %s", answer) })
				p.eventually("the name of g2", func() bool {
					answer = resolve(avahis[i], "RESOLVE-HOSTNAME-"+strings.ToUpper(c.family)+" g2.local")
					return strings.HasPrefix(answer, "+") && strings.HasSuffix(answer, "g2.local "+c.address)
				})
			}
			if n := framesOf(deaf, 5353); n > 0 && c.family == "IPv6" {
				t.Errorf("g6 has seen %d packets of mDNS", n)
			}
			p.clean()
		})
	}
}

// startDHCPv6 starts dnsmasq in a guest; it leases 2001:45::1000 and the like.
func (p *party) startDHCPv6(g *lab.Guest) {
	p.t.Helper()
	p.launch(g, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface="+lab.GuestDevice, "--bind-interfaces",
		"--user=root", "--pid-file=", "--log-facility=-", "--dhcp-range=2001:45::1000,2001:45::1fff,64,1h",
		"--dhcp-leasefile="+filepath.Join(p.Dir, "dnsmasq.leases"))
}

// A guest gets an address by DHCPv6 (dnsmasq, dhclient) from a server on another
// host. What it sends to ff02::1:2 goes to the server and to nobody else.
func TestDHCPv6(t *testing.T) {
	t.Parallel()
	p := newParty(t, lab.Options{Hosts: 2}, 4, quick)
	p.start()
	server, client := p.guest(2), p.guest(1)
	p.startDHCPv6(server)
	p.reaches(p.send(p.guest(3), "ff02::1:2"), server)
	deaf := p.capture(p.guest(4))
	leases := filepath.Join(p.Dir, "dhclient.leases")
	p.launch(client, "dhclient", "-6", "-d", "-v", "-cf", "/dev/null", "-lf", leases, "-pf", filepath.Join(p.Dir, "dhclient.pid"), "-sf", "/bin/true", lab.GuestDevice)
	p.eventually("a lease", func() bool {
		text, err := os.ReadFile(leases)
		return err == nil && strings.Contains(string(text), "iaaddr 2001:45::1")
	})
	if n := framesOf(deaf, 547); n > 0 {
		t.Errorf("g4 has seen %d packets to DHCPv6 servers", n)
	}
	p.clean()
}

// A guest configures itself by the advertisements of a router (radvd) on another
// host: an address and a default route. What it sends to ff02::2 goes to the
// router and to nobody else.
func TestRouterAdvertisement(t *testing.T) {
	t.Parallel()
	p := newParty(t, lab.Options{Hosts: 2}, 4, quick)
	p.start()
	router, client := p.guest(2), p.guest(1)
	if err := router.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	config := p.file("radvd.conf", "interface "+lab.GuestDevice+" { AdvSendAdvert on; prefix 2001:db8:99::/64 {}; };\n")
	p.launch(router, "radvd", "--nodaemon", "--config", config, "--pidfile", filepath.Join(p.Dir, "radvd.pid"), "--logmethod", "stderr")
	p.reaches(p.send(p.guest(3), "ff02::2"), router)
	deaf := p.capture(p.guest(4))
	for _, setting := range []struct{ key, value string }{
		{"disable_ipv6", "1"}, {"accept_ra", "1"}, {"router_solicitations", "-1"}, {"disable_ipv6", "0"},
	} {
		if err := client.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/"+setting.key, setting.value); err != nil {
			t.Fatal(err)
		}
	}
	p.eventually("an address of the advertised prefix", func() bool {
		return strings.Contains(p.run(client.Namespace, "ip", "-6", "address", "show", "dev", lab.GuestDevice), "2001:db8:99:")
	})
	p.eventually("the default route", func() bool {
		return strings.Contains(p.run(client.Namespace, "ip", "-6", "route", "show", "default"), "via fe80:")
	})
	if n := solicitations(deaf); n > 0 {
		t.Errorf("g4 has seen %d router solicitations", n)
	}
	p.clean()
}

// solicitations counts the captured router solicitations.
func solicitations(c *lab.Capture) int {
	n := 0
	for _, f := range c.Frames() {
		if gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeICMPv6RouterSolicitation) != nil {
			n++
		}
	}
	return n
}
