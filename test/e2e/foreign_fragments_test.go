// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// A kernel VXLAN switch whose way to us is narrower than its guests' frames
// sends its packets in fragments. All decap modes leave these to the kernel,
// and the frames arrive; ours to it are never in fragments.
func TestForeignFragments(t *testing.T) {
	t.Parallel()
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"xdp", "tc", "kernel"} {
			t.Run(fmt.Sprintf("%s/%s", underlay, decap), func(t *testing.T) {
				t.Parallel()
				w := &world{Lab: lab.NewTest(t, lab.Options{Underlay: underlay, Hosts: 1}), t: t, flags: []string{"--decap", decap}}
				ours := w.addGuest(w.Hosts[0], "ours", lab.GuestOptions{})
				foreign := w.mix(lab.ForeignOptions{}, lab.GuestOptions{})
				theirs := w.guests[1]
				us := w.Hosts[0].VTEP
				if err := foreign.AddRoute(lab.Route{To: netip.PrefixFrom(us, us.BitLen()), Device: lab.Uplink, MTU: 1300}); err != nil {
					t.Fatal(err)
				}
				w.start()
				w.ping(ours, "10.9.0.2")
				wire, err := w.Capture(w.Hosts[0].Namespace, lab.Uplink, "the uplink")
				if err != nil {
					t.Fatal(err)
				}

				// The kernel's device itself does this over IPv4 only. With DF it would
				// tell its guest of the narrow way. The answers are as large, and ours.
				if underlay == lab.IPv4 {
					w.run(theirs.Namespace, "ping", "-n", "-c", "5", "-i", "0.05", "-W", "2", "-M", "dont", "-s", "1390", "10.9.0.1")
					w.eventually("two fragments for each of 5 frames", func() bool { return incomingFragments(wire) == 2*5 })
				}
				// A socket of the switch's host stands in for a device that does so over
				// IPv6 too.
				var device *net.UDPConn
				if err := foreign.Do(func() (err error) {
					device, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(us, 4789)))
					return err
				}); err != nil {
					t.Fatal(err)
				}
				defer device.Close()
				if err := allowFragments(device); err != nil {
					t.Fatal(err)
				}
				seen, before, sent := w.capture(ours), incomingFragments(wire), 0
				for _, dst := range []string{ours.MAC, "ff:ff:ff:ff:ff:ff", "01:00:5e:7f:00:45"} {
					for _, tags := range [][]byte{nil, tag(0x8100, 100)} {
						f := frame(dst, theirs.MAC, append(append(tags, 0x88, 0xb5), payload("in fragments", 1350)...)...)
						if _, err := device.Write(append(outer{vni: 4500}.vxlan(), f...)); err != nil {
							t.Fatal(err)
						}
						sent++
						if err := seen.Await(f); err != nil {
							t.Error(err)
						}
						if n := seen.Count(f); n > 1 {
							t.Errorf("%d copies to %s", n, dst)
						}
					}
				}
				w.eventually("two fragments for each frame", func() bool { return incomingFragments(wire)-before == 2*sent })
				w.ping(ours, "10.9.0.2")
				w.atomicPackets(wire)
				w.noDrops()
				w.clean()
			})
		}
	}
}

// allowFragments makes a socket send what is too large in fragments, without DF.
func allowFragments(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if conn.RemoteAddr().(*net.UDPAddr).IP.To4() != nil {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
		} else {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
		}
	})
	return errors.Join(err, failed)
}

// incomingFragments counts the IP fragments that a device got.
func incomingFragments(wire *lab.Capture) int {
	n := 0
	for _, f := range wire.Frames() {
		if f.Outgoing || len(f.Data) < 14+40 {
			continue
		}
		switch binary.BigEndian.Uint16(f.Data[12:]) {
		case 0x0800:
			if binary.BigEndian.Uint16(f.Data[14+6:])&0x3fff != 0 {
				n++
			}
		case 0x86dd:
			if f.Data[14+6] == 44 {
				n++
			}
		}
	}
	return n
}

// A frame to an address that bridges keep to themselves goes to a foreign switch
// like any other, and that passes it on to nobody.
func TestReservedGroupsAtForeignBridge(t *testing.T) {
	t.Parallel()
	w := newMixed(t, lab.Options{}, lab.GuestOptions{})
	ours, theirs := w.guests[0], w.guests[1]
	w.ping(ours, "10.9.0.2")
	wire, err := w.Capture(w.Hosts[0].Namespace, lab.Uplink, "the uplink")
	if err != nil {
		t.Fatal(err)
	}
	seen := w.capture(theirs)
	f := frame("01:80:c2:00:00:0e", ours.MAC, append([]byte{0x88, 0xcc}, payload("neighbours", 50)...)...)
	if err := ours.SendFrame(lab.GuestDevice, f); err != nil {
		t.Fatal(err)
	}
	w.eventually("the packet on the uplink", func() bool {
		for _, p := range wire.Frames() {
			if at := 14 + 20 + 16; p.Outgoing && len(p.Data) > at && string(p.Data[at:]) == string(f) {
				return true
			}
		}
		return false
	})
	w.ping(ours, "10.9.0.2")
	if seen.Count(f) > 0 {
		t.Error("a bridge has forwarded a reserved address; docs/frames.md says that it does not")
	}
	w.noDrops()
}
