// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"overcast/bpf"
	"overcast/maps"
)

// group is a group as the destination of frames: its address, and the MAC that
// is made of it (RFC 1112 6.4, RFC 2464 7).
func group(address string) Station {
	ip := netip.MustParseAddr(address)
	b := ip.As16()
	if ip.Is4() {
		return Station{net.HardwareAddr{0x01, 0x00, 0x5e, b[13] & 0x7f, b[14], b[15]}, ip}
	}
	return Station{net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}, ip}
}

// entry is the key of a group's entry in the MDB; the empty source stands for
// all that have none of their own.
func (w *world) entry(segment, group, source string) bpf.MDBKey {
	var from netip.Addr
	if source != "" {
		from = netip.MustParseAddr(source)
	}
	return maps.GroupKey(w.segment(segment), netip.MustParseAddr(group), from)
}

// unknown is the key of the entry for the unknown groups of a family.
func (w *world) unknown(segment string, ipv6 bool) bpf.MDBKey {
	return maps.UnknownKey(w.segment(segment), ipv6)
}

// receivers are those of an entry.
func (w *world) receivers(ports []int, hosts ...string) maps.Receivers {
	return maps.Receivers{Ports: w.portIDs(ports), Remotes: w.remoteIDs(hosts)}
}

func (w *world) portIDs(ports []int) []uint32 {
	var ids []uint32
	for _, port := range ports {
		ids = append(ids, w.Ifindex(Port(port)))
	}
	slices.Sort(ids)
	return ids
}

func (w *world) remoteIDs(hosts []string) []uint32 {
	var ids []uint32
	for _, host := range hosts {
		ids = append(ids, w.remote(host))
	}
	slices.Sort(ids)
	return ids
}

// told puts entries into the MDB, and has it believed in these segments.
func told(put map[bpf.MDBKey]maps.Receivers, segments ...string) func(*world) func() {
	return func(w *world) func() {
		mdb, err := w.Maps.OpenMDB()
		must(err)
		must(mdb.Apply(put, nil))
		listening := listens(segments...)(w)
		return func() {
			listening()
			must(mdb.Apply(nil, sortedEntries(put)))
		}
	}
}

func sortedEntries(put map[bpf.MDBKey]maps.Receivers) []bpf.MDBKey {
	var keys []bpf.MDBKey
	for key := range put {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b bpf.MDBKey) int { return slices.Compare(a.Source.B[:], b.Source.B[:]) })
	return keys
}

// listens has an agent listen to these segments. It has said so an hour ahead
// of time, so that no test is too slow for it.
func listens(segments ...string) func(*world) func() {
	return snooped(time.Hour, time.Hour, segments...)
}

// snooped has an agent that has said, so long ahead of now, that it listens to
// these segments, and that the MDB holds for a lifetime.
func snooped(ahead, lifetime time.Duration, segments ...string) func(*world) func() {
	return func(w *world) func() {
		snooping := make(map[uint32]maps.Snooping)
		for _, segment := range segments {
			snooping[w.segment(segment)] = maps.Snooping{Reading: true, Lifetime: lifetime}
		}
		must(w.Maps.SetSnooping(monotonic(ahead), snooping))
		return func() { must(w.Maps.SetSnooping(0, nil)) }
	}
}

// monotonic is the time so long from now. It waits on a machine that has not
// been up for as long as it goes back.
func monotonic(ahead time.Duration) uint64 {
	for int64(maps.Monotonic())+int64(ahead) <= 0 {
		time.Sleep(100 * millisecond)
	}
	return maps.Monotonic() + uint64(ahead)
}

// wide names the ports of shop/wide, by number.
var wide = map[int]string{5: "shop/wide/five", 6: "shop/wide/six", 7: "shop/wide/seven"}

// copied is a frame of port five, of which these others of its segment get a
// copy, all in ascending order: of the hosts, host-d cannot, and host-e gets its
// by the tunnel device.
func (w *world) copied(name string, frame []byte, ports []int, hosts ...string) row {
	r := w.sent(name, 5, wide[5], frame)
	w.copyToPorts(&r, frame, ports)
	for _, host := range hosts {
		if host == "host-d" {
			r.drops = w.dropped(bpf.DropRemoteUnreachable, r.packet.Ifindex, "shop/wide", len(frame))
			continue
		}
		r.stats[host] = out(len(frame))
		if host == "host-e" {
			r.bare = append(r.bare, Tunnel)
		} else {
			r.tunnelled = append(r.tunnelled, host)
		}
	}
	// The last copy is the frame itself, if it is one for BPF to send.
	switch n := len(r.tunnelled); {
	case n > 0:
		r.wrap, r.tunnelled = w.to(r.tunnelled[n-1], vniWide), r.tunnelled[:n-1]
	case len(hosts) == 0 && len(ports) > 0:
		r.bare = r.bare[:len(r.bare)-1]
	default:
		r.verdict = Dropped
	}
	return r
}

// copyToPorts notes copies for ports of shop/wide.
func (w *world) copyToPorts(r *row, frame []byte, ports []int) {
	for _, port := range ports {
		c := r.stats["shop/wide"]
		c.OutPackets, c.OutBytes = c.OutPackets+1, c.OutBytes+uint64(len(frame))
		r.stats["shop/wide"], r.stats[wide[port]] = c, out(len(frame))
		r.bare = append(r.bare, Port(port))
	}
}

// flooded is a frame of port five that everybody gets.
func (w *world) flooded(name string, frame []byte) row {
	return w.copied(name, frame, []int{6, 7}, "host-b", "host-c", "host-d", "host-e")
}

// unwanted is a frame of port five that nobody wants.
func (w *world) unwanted(name string, frame []byte) row {
	r := w.copied(name, frame, nil)
	r.drops = w.dropped(bpf.DropGroupUnwanted, r.packet.Ifindex, "shop/wide", len(frame))
	return r
}

// copiedFromRemote is a frame of host-b that these ports get, or that is left to
// the tunnel device if it is too short to be stripped here.
func (w *world) copiedFromRemote(name string, frame []byte, ports ...int) row {
	r := w.arrived(bpf.UplinkIn, name, w.from("host-b", vniWide).Wrap(frame))
	if !w.stripsAtTC(frame) {
		return r
	}
	r.verdict, r.data, r.stats = Dropped, frame, map[string]bpf.Counters{"host-b": in(len(frame))}
	w.copyToPorts(&r, frame, ports)
	if n := len(r.bare); n > 0 {
		r.verdict, r.bare = Redirected, r.bare[:n-1]
	}
	return r
}

// unwantedFromRemote is a frame of host-b that no port wants.
func (w *world) unwantedFromRemote(name string, frame []byte) row {
	r := w.copiedFromRemote(name, frame)
	if r.verdict == Passed {
		return r
	}
	r.drops = w.dropped(bpf.DropGroupUnwanted, r.packet.Ifindex, "shop/wide", len(frame))
	return r
}
