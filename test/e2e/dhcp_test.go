// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"overcast/test/lab"
)

// A guest that is given nothing gets all it needs from a server on another host
// (dnsmasq; dhclient): addresses of both families by DHCP, a default route of
// each, by DHCP and by router advertisement. It is reached by those addresses,
// and gives them back.
func TestDHCP(t *testing.T) {
	t.Parallel()
	w := buildWorld(t, lab.NewTest(t, lab.Options{}), lab.GuestOptions{})
	peer, router := w.guests[0], w.guests[1]
	blank, err := w.Hosts[0].AddGuest("blank", lab.GuestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.ports = append(w.ports, fmt.Sprintf("{name: blank, host: host-a, interface: %s, mac: %q}", blank.Port, blank.MAC))
	w.start()
	server, client := w.boot("server", router.Namespace), w.boot("client", blank.Namespace)
	if err := router.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	server.launch("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface="+lab.GuestDevice, "--bind-interfaces",
		"--user=root", "--pid-file=", "--log-facility=-", "--log-dhcp", "--dhcp-leasefile=/run/leases", "--enable-ra",
		"--dhcp-range=10.9.0.100,10.9.0.199,1h", "--dhcp-range=2001:45::1000,2001:45::1fff,64,1h")

	for _, setting := range []struct{ key, value string }{
		{"disable_ipv6", "1"}, {"accept_ra", "1"}, {"router_solicitations", "-1"}, {"disable_ipv6", "0"},
	} {
		if err := blank.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/"+setting.key, setting.value); err != nil {
			t.Fatal(err)
		}
	}
	config := w.file("dhclient.conf", "initial-delay 0;\ninitial-interval 1;\n")
	for _, family := range []struct{ flag, address, router string }{
		{"-4", `10\.9\.0\.1\d\d`, "10.9.0.2"},
		{"-6", `2001:45::1[0-9a-f]{3}`, "fe80:"},
	} {
		dhclient := []string{family.flag, "-v", "-cf", config, "-lf", "/run/dhclient" + family.flag, "-pf", "/run/dhclient.pid" + family.flag}
		client.launch("dhclient", append(dhclient, "-d", lab.GuestDevice)...)
		find := regexp.MustCompile(` (` + family.address + `)/\d+ `)
		var found []string
		w.eventually("an address by DHCP", func() bool {
			out := w.run(blank.Namespace, "ip", family.flag, "address", "show", "dev", lab.GuestDevice)
			found = find.FindStringSubmatch(out)
			return found != nil && !strings.Contains(out, "tentative")
		})
		w.eventually("the default route", func() bool {
			return strings.Contains(w.run(blank.Namespace, "ip", family.flag, "route", "show", "default"), "default via "+family.router)
		})
		own := netip.MustParseAddr(found[1])
		w.ping(peer, own.String())
		w.ping(router, own.String())
		w.ping(blank, address(peer, own).String())
		leased := func() bool { return strings.Contains(server.shell("cat /run/leases"), own.String()) }
		if !leased() {
			t.Errorf("the server has no lease of %s", own)
		}
		client.shell("dhclient -r " + strings.Join(dhclient, " ") + " " + lab.GuestDevice)
		w.eventually("the end of the lease", func() bool { return !leased() })
		w.silent(peer, own.String())
	}
	w.clean()
}
