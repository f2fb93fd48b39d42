// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"overcast/test/lab"
)

// A host is a guest of its own by a pair of devices that both are its own:
// redirect_peer, which reaches only into another namespace, is not used there.
func TestHostAsGuest(t *testing.T) {
	for _, decap := range []string{"auto", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := buildWorld(t, lab.NewTest(t, lab.Options{}), lab.GuestOptions{}, "--decap", decap)
			a := w.Hosts[0]
			const mac = "02:00:00:00:01:77"
			if err := a.AddOwnGuest("own", "lan0", mac, netip.MustParsePrefix("2001:45::77/64"), netip.MustParsePrefix("10.9.0.77/24")); err != nil {
				t.Fatal(err)
			}
			w.ports = append(w.ports, fmt.Sprintf("{name: own, host: %s, interface: own, mac: %q}", a.Name, mac))
			w.start()
			near, far := w.guests[0], w.guests[1]
			for _, g := range []*lab.Guest{near, far} {
				w.ping(g, "2001:45::77")
				w.ping(g, "10.9.0.77")
				for _, prefix := range g.Options.Addresses {
					w.run(a.Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", prefix.Addr().String())
				}
			}
			transferBetween(t, far.Namespace, a.Namespace, netip.MustParseAddrPort("[2001:45::77]:5001"))
			transferBetween(t, a.Namespace, far.Namespace, netip.MustParseAddrPort("10.9.0.2:5002"))
			transferBetween(t, a.Namespace, near.Namespace, netip.MustParseAddrPort("[2001:45::1]:5003"))
			transferBetween(t, near.Namespace, a.Namespace, netip.MustParseAddrPort("10.9.0.77:5004"))
			w.noDrops()
			w.clean()
		})
	}
}

// Containers and a virtual machine on top of a guest's device (macvlan, macvtap)
// have MACs of their own and are reached like the guest itself, if the port
// names them; one that it does not name is not heard.
func TestGuestsOnTopOfAGuest(t *testing.T) {
	const container, machine, stranger = "02:00:00:00:51:01", "02:00:00:00:51:02", "02:00:00:00:51:03"
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t}
	t.Cleanup(w.explain)
	below, far := w.addGuest(w.Hosts[0], "below", lab.GuestOptions{}), w.addGuest(w.Hosts[1], "far", lab.GuestOptions{})
	w.ports[0] = fmt.Sprintf("{name: below, host: %s, interface: %s, mac: %q, extra_macs: [%q, %q]}",
		w.Hosts[0].Name, below.Port, below.MAC, container, machine)
	onTop := func(name, mac string, add func(name, mac string, addresses ...netip.Prefix) (*lab.Guest, error)) *lab.Guest {
		g, err := add(name, mac, w.addresses()...)
		if err != nil {
			t.Fatal(err)
		}
		w.guests = append(w.guests, g)
		return g
	}
	onTop("container", container, below.AddMacvlan)
	onTop("machine", machine, below.AddMacvtap)
	w.start()
	for i, g := range w.guests {
		for _, prefix := range g.Options.Addresses {
			w.ping(far, prefix.Addr().String())
		}
		for _, prefix := range far.Options.Addresses {
			w.ping(g, prefix.Addr().String())
		}
		if g != far {
			transfer(t, far, g, netip.AddrPortFrom(g.Options.Addresses[0].Addr(), uint16(5001+i)))
			transfer(t, g, far, netip.AddrPortFrom(far.Options.Addresses[1].Addr(), uint16(5001+i)))
		}
	}
	w.noDrops()
	w.silent(onTop("stranger", stranger, below.AddMacvlan), "2001:45::2")
	w.silent(far, "2001:45::5")
	if drops := w.drops(w.Hosts[0]); drops["DROP_PORT_SPOOF"] == 0 || len(drops) != 1 {
		t.Errorf("dropped %v, should be DROP_PORT_SPOOF alone", drops)
	}
	w.clean()
}
