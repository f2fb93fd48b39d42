// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"overcast/bpf"
	"overcast/test/lab"
)

// setRemote changes what the maps say of a host.
func (w *world) setRemote(t *testing.T, host string, change func(*bpf.Remote)) {
	t.Helper()
	rewrite(t, w.Maps.Remotes, w.remote(host), change)
}

// setSegment changes what the maps say of a segment.
func (w *world) setSegment(t *testing.T, name string, change func(*bpf.Segment)) {
	t.Helper()
	rewrite(t, w.Maps.Segments, w.segment(name), change)
}

// rewrite changes an element of an array map.
func rewrite[V any](t *testing.T, m *ebpf.Map, slot uint32, change func(*V)) {
	t.Helper()
	var value V
	if err := m.Lookup(slot, &value); err != nil {
		t.Fatal(err)
	}
	change(&value)
	if err := m.Put(slot, &value); err != nil {
		t.Fatal(err)
	}
}

// What goes to one host must fit the way there, however large the others are,
// and never more than the segment is set to; what goes to many must fit them all.
func TestWayMTU(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			w.setRemote(t, "host-b", func(r *bpf.Remote) { r.Mtu = 1300 })
			w.setRemote(t, "host-c", func(r *bpf.Remote) { r.Mtu = 3000 })
			w.setSegment(t, "shop/lan", func(s *bpf.Segment) { s.MtuMost = 2000 })
			for _, c := range []struct {
				to   string
				mac  net.HardwareAddr
				most int
			}{{"host-b", macB, 1300}, {"host-c", mac(0x0c, 1), 2000}} {
				for family, station := range map[string]func(net.HardwareAddr) Station{"IPv4": guest4, "IPv6": guest6} {
					sent := func(size int) []byte { return TCP(station(macOne), station(c.mac), size) }
					for _, size := range []int{c.most, c.most + 1} {
						result, err := w.Run(bpf.PortIn, Packet{Data: sent(size), Ifindex: w.Ifindex(Port(1))})
						if err != nil {
							t.Fatal(err)
						}
						want := w.to(c.to, vniLAN).Wrap(sent(size))
						if size > c.most {
							want = answerTo(t, sent(size), c.most, result.Data)
						} else {
							copy(want[len(want)-size-14-16:], result.Data[len(result.Data)-size-14-16:][:2]) // the source port is a hash
						}
						if result.Verdict != Redirected || !bytes.Equal(result.Data, want) {
							t.Errorf("%s of %d bytes to %s: %v, %d bytes:\n% x\nshould be\n% x", family, size, c.to, result.Verdict, len(result.Data), result.Data[:80], want[:80])
						}
					}
				}
			}
			group := func(size int) []byte { return UDP(guest6(mac(0x0a, 5)), guest6(macAll6), size) }
			result, err := w.Run(bpf.PortIn, Packet{Data: group(w.mtu() + 1), Ifindex: w.Ifindex(Port(5))})
			if err != nil {
				t.Fatal(err)
			}
			if want := answerTo(t, group(w.mtu()+1), w.mtu(), result.Data); !bytes.Equal(result.Data, want) {
				t.Errorf("a frame to many is answered\n% x\nshould be\n% x", result.Data[:80], want[:80])
			}
		})
	}
}

// quoting is an ICMP error from a router about a packet.
func quoting(router, to Station, kind, code uint8, rest uint32, packet []byte) []byte {
	body := append(binary.BigEndian.AppendUint32(nil, rest), packet...)
	if to.IP.Is6() {
		ip := network(router, to, layers.IPProtocolICMPv6)
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
		_ = icmp.SetNetworkLayerForChecksum(ip) // knows IPv6
		return Ethernet(router, to, etherType(to), serialize(ip, icmp, gopacket.Payload(body)))
	}
	icmp := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(icmp[2:], ^onesSum(icmp))
	return Ethernet(router, to, etherType(to), serialize(network(router, to, layers.IPProtocolICMPv4), gopacket.Payload(icmp)))
}

// What routers say of our packets is handed to the agent, of whom it is, and goes
// to the host's own stack as well; what they say of others' is not.
func TestUnderlayErrors(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			l := newListener(t, w, "shop/lan", "host-b")
			tooBig, code, other := uint8(3), uint8(4), uint8(11)
			unreachable := uint8(3)
			if underlay == lab.IPv6 {
				tooBig, code, other, unreachable = 2, 0, 3, 1
			}
			ours := w.to("host-b", vniLAN)
			router := Station{MAC: mac(0xff, 1), IP: ours.To.IP}
			here := Station{MAC: ours.From.MAC, IP: ours.From.IP}
			quote := ours.Wrap(TCP(guest6(macOne), guest6(macB), 1200))[14:]
			ip := 20
			if underlay == lab.IPv6 {
				ip = 40
			}
			changed := func(at int, value ...byte) []byte {
				q := slices.Clone(quote)
				copy(q[at:], value)
				return q
			}
			stranger := vtep(underlay, "host-s").AsSlice()
			for _, c := range []struct {
				name   string
				frame  []byte
				handed bool
			}{
				{"too big", quoting(router, here, tooBig, code, 1400, quote), true},
				{"as little as there must be", quoting(router, here, tooBig, code, 1400, quote[:ip+8]), true},
				{"unreachable", quoting(router, here, unreachable, code, 0, quote), true},
				{"cut short", quoting(router, here, tooBig, code, 1400, quote[:ip+7]), false},
				{"another error", quoting(router, here, other, 0, 0, quote), false},
				{"of another port", quoting(router, here, tooBig, code, 1400, changed(ip+2, 0, 53)), false},
				{"of another protocol", quoting(router, here, tooBig, code, 1400, changed(map[int]int{20: 9, 40: 6}[ip], 6)), false},
				{"to a stranger", quoting(router, here, tooBig, code, 1400, changed(ip-len(stranger), stranger...)), false},
				{"from a stranger", quoting(router, here, tooBig, code, 1400, changed(ip-2*len(stranger), stranger...)), false},
			} {
				result, err := w.Run(bpf.UplinkIn, Packet{Data: c.frame, Ifindex: w.Ifindex(Uplink)})
				if err != nil {
					t.Fatal(err)
				}
				if result.Verdict != Passed || !bytes.Equal(result.Data, c.frame) {
					t.Errorf("%s: %v, or changed: it is the host's too", c.name, result.Verdict)
				}
				var want [][]byte
				if c.handed {
					head := c.frame[:min(len(c.frame), smallEvent)]
					record := make([]byte, 16, 16+smallEvent)
					binary.NativeEndian.PutUint32(record[8:], w.remote("host-b"))
					binary.NativeEndian.PutUint32(record[12:], uint32(len(head)))
					want = append(want, append(append(record, head...), make([]byte, smallEvent-len(head))...))
				}
				if got := l.records(t); !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("%s: the agent gets\n% x\nshould be\n% x", c.name, got, want)
				}
			}
		})
	}
}

// syn is the first segment of a connection, with these options.
func syn(from, to Station, options ...layers.TCPOption) []byte {
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1000, SYN: true, Window: 512, Options: options}
	ip := network(from, to, layers.IPProtocolTCP)
	_ = tcp.SetNetworkLayerForChecksum(ip) // knows both families
	return Ethernet(from, to, etherType(to), serialize(ip, tcp))
}

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	return layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data}
}

// A SYN to or from another host says what fits the way there, if the segment is
// to have it so; its checksum holds, wherever the option stands.
func TestClampMSS(t *testing.T) {
	mss := func(size uint16) layers.TCPOption {
		return option(layers.TCPOptionKindMSS, byte(size>>8), byte(size))
	}
	nop, stamps := layers.TCPOption{OptionType: layers.TCPOptionKindNop}, option(layers.TCPOptionKindTimestamps, 1, 2, 3, 4, 5, 6, 7, 8)
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			w := newWorld(t, underlay, nil)
			w.setRemote(t, "host-b", func(r *bpf.Remote) { r.Mtu = 1300 })
			for family, station := range map[string]func(net.HardwareAddr) Station{"IPv4": guest4, "IPv6": guest6} {
				most := uint16(1300 - 40)
				if family == "IPv6" {
					most -= 20
				}
				one, b := station(macOne), station(macB)
				type syns func(from, to Station) []byte
				with := func(options ...layers.TCPOption) syns {
					return func(from, to Station) []byte { return syn(from, to, options...) }
				}
				broken := func(at int, value byte, options ...layers.TCPOption) syns {
					return func(from, to Station) []byte {
						return mutated(syn(from, to, options...), func(p []byte) []byte { p[14+ipHeader(to)+20+at] = value; return p })
					}
				}
				data := func(from, to Station) []byte { return TCP(from, to, 200) }
				for _, c := range []struct {
					name       string
					sent, want syns
				}{
					{"too large", with(mss(1460)), with(mss(most))},
					{"at an odd place", with(nop, mss(1460)), with(nop, mss(most))},
					{"at the end", with(stamps, nop, nop, stamps, nop, nop, mss(65535)), with(stamps, nop, nop, stamps, nop, nop, mss(most))},
					{"behind one of an unknown kind", with(option(253, 1), mss(1460)), with(option(253, 1), mss(most))},
					{"just so", with(mss(most)), with(mss(most))},
					{"smaller", with(mss(536)), with(mss(536))},
					{"none", with(nop, stamps), with(nop, stamps)},
					{"behind the end", broken(0, 0, nop, nop, nop, nop, mss(1460)), broken(0, 0, nop, nop, nop, nop, mss(1460))},
					{"behind one without a length", broken(1, 0, stamps, mss(1460)), broken(1, 0, stamps, mss(1460))},
					{"of another length", broken(1, 3, mss(1460)), broken(1, 3, mss(1460))},
					{"no SYN", data, data},
				} {
					for _, clamps := range []bool{true, false} {
						w.setSegment(t, "shop/lan", func(s *bpf.Segment) {
							s.Flags &^= bpf.SegmentClampMSS
							if clamps {
								s.Flags |= bpf.SegmentClampMSS
							}
						})
						want := c.want
						if !clamps {
							want = c.sent
						}
						name := fmt.Sprintf("%s, %s, clamps: %t", family, c.name, clamps)
						out, err := w.Run(bpf.PortIn, Packet{Data: c.sent(one, b), Ifindex: w.Ifindex(Port(1))})
						if err != nil {
							t.Fatal(err)
						}
						if frame := out.Data[min(w.outerHeaders(), len(out.Data)):]; !bytes.Equal(frame, want(one, b)) {
							t.Errorf("%s, to the host:\n% x\nshould be\n% x", name, frame, want(one, b))
						}
						in, err := w.Run(bpf.UplinkIn, Packet{Data: w.from("host-b", vniLAN).Wrap(c.sent(b, one)), Ifindex: w.Ifindex(Uplink)})
						if err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(in.Data, want(b, one)) {
							t.Errorf("%s, from the host:\n% x\nshould be\n% x", name, in.Data, want(b, one))
						}
					}
				}
			}
		})
	}
}
