// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
	"overcast/test/prog"
)

// dropKind is a way to lose a frame.
type dropKind struct {
	reason  bpf.Drop
	program string
	packet  func(s *stage) prog.Packet
}

// Stations that only drops need.
var (
	goneMAC = stationMAC(6, 1) // a port whose device is missing
	lostMAC = stationMAC(6, 2) // behind a host without a route
)

// dropDocument has, beside what newStage has, what frames can be lost for.
func dropDocument(family lab.Family, s *stage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "hosts:\n  - {name: here, vtep: %q}\n  - {name: r0, vtep: %q}\n  - {name: lost, vtep: %q}\n", remoteVTEP(family, 1), remoteVTEP(family, 2), remoteVTEP(family, 3))
	fmt.Fprintf(&b, "environments:\n  - name: bench\n    segments:\n      - name: lan\n        vni: %d\n        ports:\n", vni)
	fmt.Fprintf(&b, "          - {name: p1, host: here, interface: p1, mac: %q}\n", s.here.MAC)
	fmt.Fprintf(&b, "          - {name: p2, host: here, interface: p2, mac: %q}\n", s.local.MAC)
	fmt.Fprintf(&b, "          - {name: gone, host: here, interface: p9, mac: %q}\n", goneMAC)
	fmt.Fprintf(&b, "          - {name: far, host: r0, interface: p1, mac: %q}\n", s.there[0])
	fmt.Fprintf(&b, "          - {name: lost, host: lost, interface: p1, mac: %q}\n", lostMAC)
	fmt.Fprintf(&b, "      - {name: apart, vni: %d, members: [here, lost]}\n", vni+1)
	return b.String()
}

// dropKinds lists the drops that a test run can provoke. Of the others,
// DROP_FRAME_RUNT, DROP_ENCAP_FAILED, DROP_STRIP_FAILED and DROP_TUNNEL_ADDRESS
// cannot be (test/prog says why), and DROP_COPY_FAILED, DROP_REMOTE_UNKNOWN,
// DROP_SEGMENT_UNKNOWN and DROP_DEVICE_MISSING need a map or a device that is
// broken.
func dropKinds() []dropKind {
	guest := func(change func(s *stage, from, to *prog.Station)) func(*stage) prog.Packet {
		return func(s *stage) prog.Packet {
			from, to := s.here, s.far(0)
			change(s, &from, &to)
			return prog.Packet{Data: prog.UDP(from, to, payload), Ifindex: s.Ifindex(prog.Port(1))}
		}
	}
	remote := func(change func(s *stage, o *prog.Outer, to *prog.Station)) func(*stage) prog.Packet {
		return func(s *stage) prog.Packet {
			o := prog.Outer{From: s.vteps[1], To: s.vteps[0], Source: 50000, Port: prog.TunnelPort, VNI: vni}
			to := s.here
			change(s, &o, &to)
			return prog.Packet{Data: o.Wrap(prog.UDP(s.far(0), to, payload)), Ifindex: s.Ifindex(prog.Uplink)}
		}
	}
	plain := remote(func(*stage, *prog.Outer, *prog.Station) {})
	return []dropKind{
		{bpf.DropFrameSource, bpf.PortIn, guest(func(_ *stage, from, _ *prog.Station) { from.MAC = stationMAC(0, 0); from.MAC[0] = 3 })},
		{bpf.DropFrameCut, bpf.PortIn, func(s *stage) prog.Packet {
			// In a tag: the kernel makes no test packet of one that is cut and bare.
			return prog.Packet{Data: prog.Ethernet(s.here, s.far(0), 0x8100, append([]byte{0, 1, 8, 0}, make([]byte, 19)...)), Ifindex: s.Ifindex(prog.Port(1))}
		}},
		{bpf.DropPortUnknown, bpf.PortIn, func(s *stage) prog.Packet {
			return prog.Packet{Data: prog.UDP(s.here, s.far(0), payload), Ifindex: s.Ifindex(prog.Uplink)}
		}},
		{bpf.DropPortSpoof, bpf.PortIn, guest(func(s *stage, from, _ *prog.Station) { from.MAC = s.local.MAC })},
		{bpf.DropPortHairpin, bpf.PortIn, guest(func(_ *stage, from, to *prog.Station) { to.MAC = from.MAC })},
		{bpf.DropPortGone, bpf.PortIn, guest(func(_ *stage, _, to *prog.Station) { to.MAC = goneMAC })},
		{bpf.DropFDBUnknown, bpf.PortIn, guest(func(_ *stage, _, to *prog.Station) { to.MAC = stationMAC(9, 9) })},
		{bpf.DropRemoteUnreachable, bpf.PortIn, guest(func(_ *stage, _, to *prog.Station) { to.MAC = lostMAC })},
		{bpf.DropMTULimited, bpf.PortIn, func(s *stage) prog.Packet {
			// The port has had its answers for the next hour.
			_ = s.path.Maps.Pacers.Put(s.path.Contents.Slots["bench/lan/p1"], maps.Monotonic()+uint64(time.Hour)) // or it is answered, and told so
			return prog.Packet{Data: prog.UDP(s.here, s.far(0), 1480), Ifindex: s.Ifindex(prog.Port(1))}
		}},
		{bpf.DropFDBRemote, bpf.UplinkIn, remote(func(_ *stage, _ *prog.Outer, to *prog.Station) { to.MAC = lostMAC })},
		{bpf.DropTunnelTruncated, bpf.UplinkXDP, func(s *stage) prog.Packet {
			p := plain(s)
			p.Data = p.Data[:len(p.Data)-20]
			return p
		}},
		{bpf.DropTunnelReserved, bpf.UplinkXDP, func(s *stage) prog.Packet {
			p := plain(s)
			p.Data[len(p.Data)-14-payload-1] = 1 // the last byte of the VXLAN header
			return p
		}},
		{bpf.DropVNIUnknown, bpf.UplinkXDP, remote(func(_ *stage, o *prog.Outer, _ *prog.Station) { o.VNI = 77 })},
		{bpf.DropVTEPUnknown, bpf.UplinkXDP, remote(func(s *stage, o *prog.Outer, _ *prog.Station) { o.From.IP = remoteVTEP(s.family, 99) })},
		{bpf.DropVTEPNotMember, bpf.UplinkXDP, remote(func(_ *stage, o *prog.Outer, _ *prog.Station) { o.VNI = vni + 1 })},
		{bpf.DropTunnelKey, bpf.TunnelIn, func(s *stage) prog.Packet {
			return prog.Packet{Data: prog.UDP(s.far(0), s.here, payload), Ifindex: s.Ifindex(prog.Tunnel)}
		}},
	}
}

// measureDrops measures each kind of drop, once it is seen to be that.
func measureDrops(r *report, o *options, family lab.Family, runs int) (err error) {
	s, err := newStage(family, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	facts := s.Facts()
	facts.Paths[remoteVTEP(family, 2)], facts.MTUs[remoteVTEP(family, 2)] = s.Path(remoteVTEP(family, 2), s.vteps[1].MAC), 1500
	if err := s.path.Fill(dropDocument(family, s), "here", facts); err != nil {
		return err
	}
	var all []subject
	for _, kind := range dropKinds() {
		packet := kind.packet(s)
		sub := subject{name: kind.reason.String(), program: kind.program, nothing: prog.NothingTC, copies: 1, verdict: prog.Dropped,
			packet: func(*stage, int) prog.Packet { return packet }}
		if kind.program == bpf.UplinkXDP {
			sub.nothing = prog.NothingXDP
		}
		if err := s.provokes(kind, packet); err != nil {
			return err
		}
		all = append(all, sub)
	}
	return s.measure(r, o, fmt.Sprintf("%s underlay, drops", family), all, runs)
}

// provokes sees that a packet is dropped for its reason.
func (s *stage) provokes(kind dropKind, packet prog.Packet) error {
	before, err := s.path.Counts()
	if err != nil {
		return err
	}
	for range 20 { // more than a burst of answers
		if _, err := s.path.Run(kind.program, packet); err != nil {
			return fmt.Errorf("%s: %w", kind.reason, err)
		}
	}
	after, err := s.path.Counts()
	if err != nil {
		return err
	}
	for key := range after.Since(before).Drops {
		if key.Reason == kind.reason {
			return nil
		}
	}
	return fmt.Errorf("%s: its packet was not dropped for it, but %v", kind.reason, after.Since(before).Drops)
}
