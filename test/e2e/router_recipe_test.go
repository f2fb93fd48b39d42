// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"overcast/test/lab"
)

// blocks are the code blocks of a page with this word after their three ticks.
func blocks(t *testing.T, page, word string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?sm)^```"+word+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("%s has no block %q", page, word)
	}
	return found
}

// What docs/router.md tells to do makes a guest the router out of its
// environment. A guest on another host, that has only what is advertised to it,
// loads a page that is outside by IPv6 only, and one that is there by IPv4
// only, and sends both as much. Nobody outside can connect to it.
func TestRouterRecipe(t *testing.T) {
	t.Parallel()
	// The underlay is EC2's, so that the tunnel's MTU is the smaller one.
	w := &world{Lab: lab.NewTest(t, lab.Options{MTU: 9001}), t: t}
	w.t.Cleanup(w.explain)
	add := func(h *lab.Host, name, mac string) *lab.Guest {
		g, err := h.AddGuest(name, lab.GuestOptions{Kind: lab.Tap, Port: "tap-" + name, MAC: mac})
		if err != nil {
			t.Fatal(err)
		}
		w.guests = append(w.guests, g)
		return g
	}
	gate := add(w.Hosts[0], "router", "02:00:00:00:00:01")
	web := add(w.Hosts[1], "web", "02:00:00:00:00:0b")
	for _, h := range w.Hosts {
		if err := h.WriteDocument(blocks(t, "router.md", "yaml")[0]); err != nil {
			t.Fatal(err)
		}
		w.agents = append(w.agents, w.startAgent(h))
	}
	outside := w.outside(gate)

	router, guest := w.boot("router", gate.Namespace), w.boot("web", web.Namespace)
	for _, block := range blocks(t, "router.md", "sh router") {
		router.shell(block)
	}
	for _, setting := range []struct{ key, value string }{
		{"disable_ipv6", "1"}, {"accept_ra", "1"}, {"router_solicitations", "-1"}, {"disable_ipv6", "0"},
	} {
		if err := web.Sysctl("net/ipv6/conf/"+lab.GuestDevice+"/"+setting.key, setting.value); err != nil {
			t.Fatal(err)
		}
	}
	const own = "2001:db8:45:1:0:ff:fe00:b"
	w.eventually("an address", func() bool {
		return strings.Contains(w.run(web.Namespace, "ip", "-6", "address", "show", "dev", lab.GuestDevice), own)
	})
	// What writes this file on a guest has the resolver from the advertisement.
	guest.shell("rdisc6 -1 eth0 | sed -n 's/ *Recursive DNS server *:/nameserver/p' >/etc/resolv.conf; grep nameserver /etc/resolv.conf")
	if out := guest.shell("cat /proc/sys/net/ipv6/conf/eth0/mtu"); out != "1480\n" {
		t.Errorf("the guest's MTU is %s", out)
	}

	commands := blocks(t, "router.md", "sh guest")[0]
	w.eventually("the tunnel", func() bool {
		_, err := gate.Run(t.Context(), "ping", "-n", "-c", "1", "-W", "1", "2001:db8:6::1")
		return err == nil
	})
	for _, from := range []string{"2001:db8:66::80 says hello to " + own, "203.0.113.80 says hello to 198.51.100.2"} {
		if out := guest.shell(commands); !strings.Contains(out, from) {
			t.Errorf("the guest has got\n%sand not %s", out, from)
		}
	}
	sent := w.file("cargo", string(cargo()[:1_000_000]))
	for _, name := range []string{"ipv6", "ipv4"} {
		guest.shell(fmt.Sprintf("curl -sS --data-binary @%[1]s http://%[2]s.example.org/ -o %[1]s.%[2]s; cmp %[1]s %[1]s.%[2]s", sent, name))
	}
	if out, err := outside.Run(t.Context(), "ping", "-n", "-c", "2", "-i", "0.05", "-W", "0.3", own); err == nil {
		t.Errorf("the guest was reached from outside:\n%s", out)
	}
	w.clean()
}

// outside makes what the router's second leg leads to: by IPv4, with a resolver,
// a server and the broker's end of the tunnel; at that a server with IPv6.
func (w *world) outside(router *lab.Guest) *machine {
	w.t.Helper()
	n, err := w.AddNamespace("outside")
	if err != nil {
		w.t.Fatal(err)
	}
	err = errors.Join(lab.Join(router.Namespace, n, "eth1"),
		router.AddAddress("eth1", netip.MustParsePrefix("198.51.100.2/24")),
		n.AddAddress("eth1", netip.MustParsePrefix("198.51.100.1/24")),
		n.AddAddress("eth1", netip.MustParsePrefix("198.51.100.53/24")),
		n.AddAddress("eth1", netip.MustParsePrefix("198.51.100.66/24")),
		n.AddAddress("lo", netip.MustParsePrefix("203.0.113.80/32")),
		n.AddAddress("lo", netip.MustParsePrefix("2001:db8:66::80/128")),
		router.AddRoute(lab.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("198.51.100.1"), Device: "eth1"}))
	if err != nil {
		w.t.Fatal(err)
	}
	m := w.boot("outside", n)
	m.shell(`if ! ip tunnel add six mode sit local 198.51.100.66 remote 198.51.100.2 ttl 64; then
	ip tuntap add dev six mode tun
	while :; do
		socat TUN,tun-name=six,tun-type=tun,iff-no-pi IP4-SENDTO:198.51.100.2:41,bind=198.51.100.66 || sleep 0.1
	done &
fi
ip link set six mtu 1480 up
ip address add 2001:db8:6::1/64 dev six
ip route add 2001:db8:45::/48 dev six`)
	m.launch("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--listen-address=198.51.100.53", "--bind-interfaces", "--user=root",
		"--pid-file=", "--log-facility=-", "--no-resolv", "--no-hosts", "--local=/example.org/",
		"--host-record=ipv6.example.org,2001:db8:66::80", "--host-record=ipv4.example.org,203.0.113.80")
	for _, address := range []string{"[2001:db8:66::80]:80", "203.0.113.80:80"} {
		listener, err := n.Listen(netip.MustParseAddrPort(address))
		if err != nil {
			w.t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(greet)}
		go func() { _ = server.Serve(listener) }() // until it is closed
		w.t.Cleanup(func() { server.Close() })
	}
	return m
}

// greet tells who has asked whom, or returns what was posted.
func greet(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body) // who does not wait for it misses it
		return
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string })
	fmt.Fprintf(w, "%s says hello to %s\n", netip.MustParseAddrPort(local.String()).Addr(), netip.MustParseAddrPort(r.RemoteAddr).Addr())
}
