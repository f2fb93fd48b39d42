// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"overcast/bpf"
	"overcast/loader/membership"
	"overcast/maps"
	"overcast/policy"
)

var (
	video  = netip.MustParseAddr("ff05::45")
	camera = netip.MustParseAddr("2001:45::c")
	studio = netip.MustParseAddr("2001:45::d")
)

// groupsWorld is a segment with the ports 11 and 12 and the hosts b and c, in
// maps of its own; nothing is attached anywhere.
type groupsWorld struct {
	*groups
	t        *testing.T
	state    *policy.State
	contents *maps.Contents
	b, c     uint32 // slots
	segment  uint32
	now      time.Time
	runDir   string
}

func newGroupsWorld(t *testing.T, multicast policy.Multicast) *groupsWorld {
	t.Helper()
	enterNamespace(t)
	newPinPath(t) // the rights to make maps
	w := &groupsWorld{t: t, now: time.Now(), runDir: t.TempDir()}
	port := func(name string) policy.Port { return policy.Port{Name: name, Interface: name} }
	w.state = &policy.State{
		Host:    policy.Host{Name: "a", VTEP: netip.MustParseAddr("127.0.0.1")},
		Tunnel:  policy.DefaultTunnel(policy.VXLAN),
		Remotes: []policy.Remote{{Name: "b", VTEP: netip.MustParseAddr("127.0.0.2")}, {Name: "c", VTEP: netip.MustParseAddr("127.0.0.3")}},
	}
	w.state.Segments = []policy.Segment{{
		Environment: "shop", Name: "lan", VNI: 4500, Multicast: multicast, Ports: []policy.Port{port("one"), port("two")},
		Remotes: []netip.Addr{w.state.Remotes[0].VTEP, w.state.Remotes[1].VTEP},
	}}
	set, err := NewMaps(testLimits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	facts := maps.Facts{Ports: map[string]maps.PortFacts{"one": {Ifindex: 11}, "two": {Ifindex: 12}}, MTU: 1500}
	if w.contents, err = maps.Compile(w.state, facts, &maps.Snapshot{}, testLimits); err != nil {
		t.Fatal(err)
	}
	for slot, name := range w.contents.RemoteNames {
		if name == "b" {
			w.b = slot
		} else {
			w.c = slot
		}
	}
	for slot := range w.contents.SegmentNames {
		w.segment = slot
	}
	w.start(set)
	return w
}

// start is the start of an agent.
func (w *groupsWorld) start(set *maps.Set) {
	w.t.Helper()
	before := w.snoop(set).Alive
	var err error
	if w.groups, err = openGroups(set, w.runDir, slog.New(slog.DiscardHandler)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.close)
	w.follow()
	if w.snoop(set).Alive != before {
		w.t.Error("the programs are to believe the MDB before it has what waits in the ring")
	}
	w.receive(w.now, <-w.events.C)
	if err := w.begin(w.now); err != nil {
		w.t.Fatal(err)
	}
	if w.snoop(set).Alive == 0 {
		w.t.Error("the programs are never to believe the MDB")
	}
}

// snoop is what the programs are told of the segment.
func (w *groupsWorld) snoop(set *maps.Set) bpf.Snoop {
	w.t.Helper()
	var snoop bpf.Snoop
	if err := set.Snoops.Lookup(w.segment, &snoop); err != nil {
		w.t.Fatal(err)
	}
	return snoop
}

func (w *groupsWorld) follow() {
	w.t.Helper()
	if err := w.groups.follow(w.now, w.state, w.contents, w.state.Host.VTEP, nil); err != nil {
		w.t.Fatal(err)
	}
}

// told is a report of a member.
func (w *groupsWorld) told(from membership.Member, records ...membership.Record) {
	w.t.Helper()
	e := Event{Segment: w.segment, Ifindex: from.ID}
	message := &membership.Message{Kind: membership.Report, Family: membership.IPv6, Version: 2, SourceMAC: membership.MAC{2, 0, 0, 0, 0, 1}, Records: records}
	if from.Kind != membership.Port {
		e.Ifindex, e.Remote = 0, from.ID
		message.SourceMAC = membership.ProxyMAC(w.remotes[from.ID].VTEP)
	}
	message.Source = membership.ProxyAddress(message.SourceMAC)
	e.Frame = membership.Build(message)
	w.receive(w.now, e)
	if err := w.flush(w.now); err != nil {
		w.t.Fatal(err)
	}
}

// toldAll has a host say that it has told all, twice, as it must.
func (w *groupsWorld) toldAll(host membership.Member) {
	w.t.Helper()
	w.told(host)
	w.told(host)
}

// startup is how long a port that tells nothing is given.
const startup = 12 * time.Second

// later lets time pass, a second at a time at most.
func (w *groupsWorld) later(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= time.Second {
		for _, s := range w.segments {
			s.wait = time.Time{} // that of the machine, which may be slow
		}
		w.now = w.now.Add(min(d, time.Second))
		if _, err := w.tick(w.now); err != nil {
			w.t.Fatal(err)
		}
	}
}

// holds compares the MDB's entries of the group, by source.
func (w *groupsWorld) holds(what string, want map[netip.Addr]maps.Receivers) {
	w.t.Helper()
	got := make(map[netip.Addr]maps.Receivers)
	for key, to := range w.mdb.Entries() {
		if key.Group.NetAddr() == video {
			got[key.Source.NetAddr()] = to
		}
	}
	if want == nil {
		want = map[netip.Addr]maps.Receivers{}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func onPort(ifindex uint32) membership.Member {
	return membership.Member{Kind: membership.Port, ID: ifindex}
}

func onHost(slot uint32) membership.Member {
	return membership.Member{Kind: membership.Host, ID: slot}
}

func record(kind membership.RecordType, sources ...netip.Addr) membership.Record {
	return membership.Record{Type: kind, Group: video, Sources: sources}
}

var anySource netip.Addr

// The MDB follows what members tell: whoever has not told gets everything.
func TestMDBFollowsReports(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	w.holds("nobody has told", nil)
	w.told(onPort(11), record(membership.ChangeToExclude))
	w.holds("a port joined; the rest may not have answered yet", map[netip.Addr]maps.Receivers{
		anySource: {Ports: []uint32{11, 12}, Remotes: []uint32{w.b, w.c}},
	})
	w.toldAll(onHost(w.b))
	w.told(onHost(w.c), record(membership.ModeIsInclude, camera))
	w.toldAll(onHost(w.c))
	w.later(startup)
	w.holds("a host wants nothing, the other one source", map[netip.Addr]maps.Receivers{
		anySource: {Ports: []uint32{11}},
		camera:    {Ports: []uint32{11}, Remotes: []uint32{w.c}},
	})
	w.told(onPort(11), record(membership.ChangeToExclude, camera, studio))
	w.later(5 * time.Second) // the last member queries find nobody
	w.holds("the port wants all but two", map[netip.Addr]maps.Receivers{
		anySource: {Ports: []uint32{11}},
		camera:    {Remotes: []uint32{w.c}},
		studio:    {},
	})
	w.later(10 * time.Minute)
	w.holds("all are silent", nil)
}

// An agent that starts goes on with what the MDB knows.
func TestGroupsAreRestored(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	w.told(onHost(w.b), record(membership.ModeIsExclude))
	w.toldAll(onHost(w.b))
	w.told(onHost(w.c), record(membership.ModeIsInclude, camera))
	w.toldAll(onHost(w.c))
	w.told(onPort(12), record(membership.ModeIsExclude, studio))
	w.later(startup)
	want := map[netip.Addr]maps.Receivers{
		anySource: {Ports: []uint32{12}, Remotes: []uint32{w.b}},
		camera:    {Ports: []uint32{12}, Remotes: []uint32{w.b, w.c}},
		studio:    {Remotes: []uint32{w.b}},
	}
	w.holds("before", want)
	if err := WriteGroups(w.runDir, w.report(w.now)); err != nil {
		t.Fatal(err)
	}
	w.close()
	w.start(w.set)
	w.holds("after", want)
	w.told(onPort(12), record(membership.ChangeToInclude))
	w.later(5 * time.Second)
	want = map[netip.Addr]maps.Receivers{
		anySource: {Remotes: []uint32{w.b}},
		camera:    {Remotes: []uint32{w.b, w.c}},
	}
	w.holds("a port leaves after the restart", want)
}

// unknown are the entries for unknown groups.
func (w *groupsWorld) unknown() map[bpf.MDBKey]maps.Receivers {
	all := make(map[bpf.MDBKey]maps.Receivers)
	for key, to := range w.mdb.Entries() {
		if !key.Group.NetAddr().IsMulticast() {
			all[key] = to
		}
	}
	return all
}

// With unknown_groups: drop, a group of which nobody told goes to whoever gets
// everything, and to nobody else.
func TestUnknownGroups(t *testing.T) {
	multicast := policy.DefaultMulticast()
	multicast.DropUnknown = true
	w := newGroupsWorld(t, multicast)
	v4, v6 := maps.UnknownKey(w.segment, false), maps.UnknownKey(w.segment, true)
	everybody := maps.Receivers{Ports: []uint32{11, 12}, Remotes: []uint32{w.b, w.c}}
	if diff := cmp.Diff(map[bpf.MDBKey]maps.Receivers{v4: everybody, v6: everybody}, w.unknown()); diff != "" {
		t.Errorf("nobody has told (-want +got):\n%s", diff)
	}
	w.toldAll(onHost(w.b))
	w.later(startup)
	want := map[bpf.MDBKey]maps.Receivers{v4: {Remotes: []uint32{w.b, w.c}}, v6: {Remotes: []uint32{w.c}}}
	if diff := cmp.Diff(want, w.unknown(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("host b has told of IPv6 (-want +got):\n%s", diff)
	}
	w.state.Segments[0].Multicast.DropUnknown = false
	w.follow()
	if left := w.unknown(); len(left) != 0 {
		t.Errorf("left after the setting is gone: %v", left)
	}
}

// While nobody asks in a family, unknown groups of it are flooded all the same:
// whoever wants one need not have told.
func TestUnknownGroupsWithoutQuerier(t *testing.T) {
	multicast := policy.DefaultMulticast()
	multicast.DropUnknown, multicast.Querier = true, false
	w := newGroupsWorld(t, multicast)
	w.told(onPort(11), record(membership.ModeIsExclude))
	w.toldAll(onHost(w.b))
	w.later(startup)
	w.holds("nobody asks", nil)
	if got := w.unknown(); len(got) != 0 {
		t.Errorf("nobody asks, and unknown groups go to %v", got)
	}
	query := &membership.Message{
		Kind: membership.Query, Family: membership.IPv6, Version: 2, MaxResponse: 10 * time.Second, QueryInterval: 125 * time.Second, Robustness: 2,
		SourceMAC: membership.MAC{2, 0, 0, 0, 0, 2}, Source: netip.MustParseAddr("fe80::2"),
	}
	w.receive(w.now, Event{Segment: w.segment, Ifindex: 12, Frame: membership.Build(query)})
	if err := w.flush(w.now); err != nil {
		t.Fatal(err)
	}
	all := maps.Receivers{Ports: []uint32{11, 12}, Remotes: []uint32{w.c}}
	if diff := cmp.Diff(map[bpf.MDBKey]maps.Receivers{maps.UnknownKey(w.segment, true): all}, w.unknown(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a router asks (-want +got):\n%s", diff)
	}
	w.holds("a router asks", map[netip.Addr]maps.Receivers{anySource: all})
	w.later(5 * time.Minute)
	if got := w.unknown(); len(got) != 0 {
		t.Errorf("the router is gone, and unknown groups go to %v", got)
	}
	w.holds("the router is gone", nil)
}

// What comes from a host is its agent's if it has that agent's address.
func TestOtherAgentsAreNotBelieved(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	w.toldAll(onHost(w.b))
	w.toldAll(onHost(w.c))
	w.later(startup)
	forged := &membership.Message{Kind: membership.Report, Family: membership.IPv6, Version: 2, Records: []membership.Record{record(membership.ModeIsExclude)}}
	send := func(vtep netip.Addr) {
		forged.SourceMAC = membership.ProxyMAC(vtep)
		forged.Source = membership.ProxyAddress(forged.SourceMAC)
		w.receive(w.now, Event{Segment: w.segment, Remote: w.b, Frame: membership.Build(forged)})
		if err := w.flush(w.now); err != nil {
			t.Fatal(err)
		}
	}
	send(w.remotes[w.c].VTEP)
	w.holds("another's address", nil)
	send(w.remotes[w.b].VTEP)
	w.holds("its own address", map[netip.Addr]maps.Receivers{anySource: {Remotes: []uint32{w.b}}})
}

// What was missed is asked for again, and the programs flood until the answers
// are there.
func TestMissedMessagesAreAskedFor(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	w.later(time.Minute)
	snoop := w.snoop(w.set)
	if snoop.Alive == 0 || snoop.Lifetime != uint64(260*time.Second) {
		t.Errorf("the programs are told %+v", snoop)
	}
	snoop.Missed = 12345
	if err := w.set.Snoops.Put(w.segment, snoop); err != nil {
		t.Fatal(err)
	}
	missed := func() bool {
		all, err := w.set.Missed()
		if err != nil {
			t.Fatal(err)
		}
		return all[w.segment] != 0
	}
	w.later(beatInterval)
	if !missed() {
		t.Error("the programs believe the MDB before there is an answer")
	}
	w.later(answered + beatInterval)
	if missed() {
		t.Error("the programs do not believe the MDB after the answers")
	}
}

// A segment that no longer snoops leaves nothing in the MDB.
func TestNoSnoopingLeavesNothing(t *testing.T) {
	w := newGroupsWorld(t, policy.DefaultMulticast())
	w.told(onPort(11), record(membership.ChangeToExclude))
	w.state.Segments[0].Multicast.Snooping = false
	w.follow()
	if left := w.mdb.Entries(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	if w.snoop(w.set).Lifetime != 0 {
		t.Error("the programs still believe the MDB")
	}
}
