// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
	"overcast/maps"
)

// What is learned of a segment's stations, step by step.
func TestLearning(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			s := &school{world: newWorld(t, underlay, nil), known: make(map[bpf.FDBKey]bpf.FDBEntry)}
			s.fillAndMove(t)
			s.keepConfigured(t)
			s.age(t)
		})
	}
}

// school is a world and what must have been learned in it so far.
type school struct {
	*world
	known map[bpf.FDBKey]bpf.FDBEntry
}

func (s *school) key(mac net.HardwareAddr) bpf.FDBKey {
	return bpf.FDBKey{Segment: s.segment("shop/school"), Mac: [6]byte(mac)}
}

func (s *school) behindPort(mac net.HardwareAddr, port int) {
	s.known[s.key(mac)] = bpf.FDBEntry{Kind: bpf.KindPort, Id: s.Ifindex(Port(port))}
}

func (s *school) behindRemote(mac net.HardwareAddr, host string) {
	s.known[s.key(mac)] = bpf.FDBEntry{Kind: bpf.KindRemote, Id: s.remote(host)}
}

// step runs a row and compares what is known after it.
func (s *school) step(t *testing.T, r row) {
	t.Helper()
	s.run(t, r)
	entries, err := s.Maps.LearnedEntries()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[bpf.FDBKey]bpf.FDBEntry)
	for key, entry := range entries {
		got[key] = entry.Where
	}
	if diff := cmp.Diff(s.known, got); diff != "" {
		t.Errorf("after %q, - should be known, + is:\n%s", r.name, diff)
	}
}

// toRemote, toPort and toNobody are frames from a port of the school.
func (s *school) toRemote(name string, port int, object, host string, from, to net.HardwareAddr) row {
	r := s.sent(name, port, object, UDP(guest4(from), guest4(to), 100))
	r.wrap, r.stats[host] = s.world.to(host, vniSchool), out(len(r.packet.Data))
	return r
}

func (s *school) toPort(name string, port int, object, target string, from, to net.HardwareAddr) row {
	r := s.sent(name, port, object, UDP(guest4(from), guest4(to), 100))
	n := uint64(len(r.packet.Data))
	r.stats[target], r.stats["shop/school"] = out(int(n)), bpf.Counters{InPackets: 1, InBytes: n, OutPackets: 1, OutBytes: n}
	return r
}

func (s *school) toNobody(name string, port int, object string, reason bpf.Drop, from, to net.HardwareAddr) row {
	r := s.sent(name, port, object, UDP(guest4(from), guest4(to), 100))
	r.verdict, r.drops = Dropped, s.dropped(reason, r.packet.Ifindex, "shop/school", len(r.packet.Data))
	return r
}

// fromRemote is a frame of a host to the port nine.
func (s *school) fromRemote(name, host string, from net.HardwareAddr) row {
	return s.delivered(name, host, "shop/school/nine", UDP(guest4(from), guest4(macNine), 100))
}

const portAny, portEight, portNine = "shop/school/any", "shop/school/eight", "shop/school/nine"

var macAny, macNine, macSchoolB, macX, macY, macZ = mac(0x0a, 4), mac(0x0a, 9), mac(0x0b, 3), mac(0x77, 1), mac(0x77, 2), mac(0x77, 3)

// fillAndMove has stations appear and move.
func (s *school) fillAndMove(t *testing.T) {
	s.behindPort(macX, 8)
	s.step(t, s.toRemote("X appears behind port eight", 8, portEight, "host-b", macX, macSchoolB))
	s.step(t, s.toPort("X is found there", 9, portNine, portEight, macNine, macX))
	s.step(t, s.toNobody("Y is not known yet", 9, portNine, bpf.DropFDBUnknown, macNine, macY))
	s.behindRemote(macY, "host-c")
	s.step(t, s.fromRemote("Y appears behind host-c", "host-c", macY))
	s.step(t, s.toRemote("Y is found there", 9, portNine, "host-c", macNine, macY))
	s.behindRemote(macY, "host-b")
	s.step(t, s.fromRemote("Y moves to host-b", "host-b", macY))
	s.step(t, s.toRemote("Y is found at host-b", 9, portNine, "host-b", macNine, macY))
	s.behindRemote(macX, "host-c")
	s.step(t, s.fromRemote("X moves to host-c", "host-c", macX))
	s.step(t, s.toRemote("X is found at host-c", 9, portNine, "host-c", macNine, macX))
	s.step(t, s.denied(bpf.UplinkIn, "X is not told to another remote", bpf.DropFDBRemote, "shop/school",
		s.from("host-b", vniSchool).Wrap(UDP(guest4(macY), guest4(macX), 100))))
	s.behindPort(macX, 4)
	s.step(t, s.toNobody("X moves to port any", 4, portAny, bpf.DropPortHairpin, macX, macX))
	s.step(t, s.toPort("X is found at port any", 9, portNine, portAny, macNine, macX))
	s.behindPort(macZ, 8)
	s.step(t, s.toNobody("Z is learned of a frame that goes nowhere", 8, portEight, bpf.DropFDBUnknown, macZ, macNobody))
}

// keepConfigured shows that nothing configured, and nothing that is no
// station's, is learned, nor anything where a segment does not learn.
func (s *school) keepConfigured(t *testing.T) {
	s.step(t, s.toRemote("a port's own MAC", 9, portNine, "host-b", macNine, macSchoolB))
	s.step(t, s.toRemote("the own MAC of a port with any", 4, portAny, "host-b", macAny, macSchoolB))
	s.step(t, s.fromRemote("a remote's configured MAC", "host-b", macSchoolB))
	s.step(t, s.fromRemote("a remote's configured MAC, from another", "host-c", macSchoolB))
	s.step(t, s.toRemote("it is where it was", 9, portNine, "host-b", macNine, macSchoolB))
	s.step(t, s.fromRemote("a local port's MAC, from a remote", "host-c", macAny))
	s.step(t, s.toPort("it is where it was, too", 9, portNine, portAny, macNine, macAny))
	spoof := s.toNobody("a remote's configured MAC, from a port", 8, portEight, bpf.DropPortSpoof, macSchoolB, macNine)
	delete(spoof.stats, "shop/school")
	s.step(t, spoof)
	group := s.toNobody("a group, from a port", 8, portEight, bpf.DropFrameSource, macAll6, macNine)
	delete(group.stats, "shop/school")
	s.step(t, group)
	s.step(t, s.denied(bpf.UplinkIn, "a group, from a remote", bpf.DropFrameSource, "shop/school",
		s.from("host-b", vniSchool).Wrap(UDP(guest4(macAll6), guest4(macNine), 100))))
	s.step(t, s.denied(bpf.UplinkIn, "a stranger's", bpf.DropVTEPUnknown, "",
		s.from("host-s", vniSchool).Wrap(UDP(guest4(macNobody), guest4(macNine), 100))))
	s.step(t, s.delivered("in a segment that does not learn", "host-b", "shop/lan/two", UDP(guest4(macNobody), guest4(macTwo), 100)))
}

// age has entries grow old: an old one is not used, a fresh one is not written.
func (s *school) age(t *testing.T) {
	second := uint64(time.Second)
	key := s.key(macX)
	seen := func(ago uint64) (written uint64) {
		written = maps.Monotonic() - ago
		must(s.Maps.Learned.Put(key, bpf.LearnedEntry{Where: s.known[key], Seen: written}))
		return written
	}
	seenNow := func() uint64 {
		var entry bpf.LearnedEntry
		must(s.Maps.Learned.Lookup(key, &entry))
		return entry.Seen
	}
	seen(uint64(maps.LearnedAge) + second)
	s.step(t, s.toNobody("X was seen too long ago", 9, portNine, bpf.DropFDBUnknown, macNine, macX))
	seen(uint64(maps.LearnedAge) - 5*second)
	s.step(t, s.toPort("X was seen just in time", 9, portNine, portAny, macNine, macX))
	if now := seenNow(); maps.Monotonic()-now < 200*second {
		t.Error("being looked for makes X fresh")
	}
	s.step(t, s.toRemote("X is heard again", 4, portAny, "host-b", macX, macSchoolB))
	if now := seenNow(); maps.Monotonic()-now > 5*second {
		t.Errorf("X was heard %v ago", time.Duration(maps.Monotonic()-now))
	}
	before := seen(second / 5)
	s.step(t, s.toRemote("X is heard twice in a second", 4, portAny, "host-b", macX, macSchoolB))
	if now := seenNow(); now != before && now-before < second {
		t.Errorf("a fresh entry is written again, %v later", time.Duration(now-before))
	}
}
