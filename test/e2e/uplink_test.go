// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"overcast/test/lab"
)

// Whatever else there is on the uplink reaches the host as if we were not
// there: ping, large fragmented ping, TCP, UDP to other ports, UDP to the
// tunnel port of another address, and unknown EtherTypes.
func TestUplinkTrafficPassesUntouched(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"auto", "xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				w := newWorld(t, lab.Options{Underlay: underlay}, lab.GuestOptions{}, "--decap", decap)
				a, b := w.Hosts[0], w.Hosts[1]
				second := netip.MustParsePrefix("192.0.2.77/24")
				if underlay == lab.IPv6 {
					second = netip.MustParsePrefix("2001:db8:1::77/64")
				}
				if err := w.AddHostAddress(a, second); err != nil {
					t.Fatal(err)
				}
				ping := func(args ...string) {
					w.run(b.Namespace, "ping", append([]string{"-n", "-c", "3", "-i", "0.05", "-W", "2"}, args...)...)
				}
				ping(a.VTEP.String())
				ping("-s", "5000", a.VTEP.String())
				ping(second.Addr().String())
				transferBetween(t, b.Namespace, a.Namespace, netip.AddrPortFrom(a.VTEP, 5001))
				transferBetween(t, a.Namespace, b.Namespace, netip.AddrPortFrom(b.VTEP, 5001))

				for _, to := range []netip.AddrPort{
					netip.AddrPortFrom(a.VTEP, 4790),
					netip.AddrPortFrom(a.VTEP, 4788),
					netip.AddrPortFrom(second.Addr(), 53),
				} {
					datagrams(t, b.Namespace, a.Namespace, to)
				}

				o := w.outerBetween(b.Namespace, b.VTEP, a)
				// A TCP segment to a port of the tunnel's number.
				transferBetween(t, b.Namespace, a.Namespace, netip.AddrPortFrom(a.VTEP, 4789))
				// Something that is not IP at all.
				w.noDropsAfter(b, frame(o.dstMAC.String(), o.srcMAC.String(), 0x88, 0xcc, 0, 0))
				w.ping(w.guests[0], "2001:45::2")

				// The tunnel port of another address is the kernel device's, and no
				// way around the checks, whoever sends and whatever the VNI.
				o.dst = second.Addr()
				seen, inner := w.capture(w.guests[0]), frame(w.guests[0].MAC, w.guests[1].MAC, 0x88, 0xb5, 'x')
				if err := b.SendFrame(lab.Uplink, o.wrap(inner)); err != nil {
					t.Fatal(err)
				}
				w.eventually("the drop", func() bool { return w.drops(a)["DROP_TUNNEL_ADDRESS"] == 1 })
				if seen.Count(inner) > 0 {
					t.Error("a tunnel packet to another address than the VTEP was delivered")
				}
			})
		}
	}
}

// noDropsAfter sends a frame from a host's uplink and checks that the first
// host's programs let it be, once a ping behind it has come through.
func (w *world) noDropsAfter(from *lab.Host, packet []byte) {
	w.t.Helper()
	if err := from.SendFrame(lab.Uplink, packet); err != nil {
		w.t.Fatal(err)
	}
	w.run(from.Namespace, "ping", "-n", "-c", "1", "-W", "2", w.Hosts[0].VTEP.String())
	w.noDrops()
}

// datagrams checks that UDP datagrams of many sizes arrive as they were sent.
func datagrams(t *testing.T, from, to *lab.Namespace, address netip.AddrPort) {
	t.Helper()
	in, err := to.ListenUDP(address)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	any := netip.IPv4Unspecified()
	if address.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	out, err := from.ListenUDP(netip.AddrPortFrom(any, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	got := make([]byte, 1<<16)
	for _, size := range []int{0, 1, 7, 8, 22, 50, 500, 1400, 4000} {
		sent := bytes.Repeat([]byte{0x08}, size)
		if _, err := out.WriteToUDPAddrPort(sent, address); err != nil {
			t.Fatal(err)
		}
		if err := in.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := in.Read(got)
		if err != nil || !bytes.Equal(got[:n], sent) {
			t.Errorf("%d bytes to %s: %d bytes arrived, %v", size, address, n, err)
		}
	}
}
