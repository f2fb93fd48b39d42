// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// meterDocument has limits so low that one frame spends a second or more, save
// in the environment "fast". The environment "port" limits a port, "whole" itself, "both" both, and
// "free" nothing. "relayed" is one whose frames this host passes on in its zone.
const meterDocument = `
hosts:
  - {name: host-a, vtep: 192.0.2.1, zone: here}
  - {name: host-b, vtep: 192.0.2.2, zone: there}
  - {name: host-c, vtep: 192.0.2.3, zone: here}
  - {name: host-e, vtep: 192.0.2.5, zone: here}
environments:
  - name: port
    segments:
      - name: lan
        vni: 4500
        unknown_unicast: flood
        members: [host-b]
        ports:
          - {name: one, host: host-a, interface: p1, mac: "02:00:00:00:0a:01", governor: {broadcast: {copies: 1}, unknown_unicast: {bytes: 100}, multicast: {copies: 1, bytes: 100}}}
          - {name: two, host: host-a, interface: p2, mac: "02:00:00:00:0a:02"}
          - {name: three, host: host-a, interface: p3, mac: "02:00:00:00:0a:03"}
  - name: whole
    governor: {broadcast: {copies: 1}, unknown_unicast: {bytes: 100}, multicast: {copies: 1, bytes: 100}}
    segments:
      - name: lan
        vni: 4501
        unknown_unicast: flood
        members: [host-b]
        ports:
          - {name: four, host: host-a, interface: p4, mac: "02:00:00:00:0a:04"}
          - {name: five, host: host-a, interface: p5, mac: "02:00:00:00:0a:05"}
  - name: both
    governor: {broadcast: {copies: 1}}
    segments:
      - name: lan
        vni: 4502
        ports:
          - {name: six, host: host-a, interface: p6, mac: "02:00:00:00:0a:06", governor: {broadcast: {copies: 1, bytes: 100}}}
          - {name: seven, host: host-a, interface: p7, mac: "02:00:00:00:0a:07"}
  - name: free
    segments:
      - name: lan
        vni: 4503
        ports:
          - {name: eight, host: host-a, interface: p8, mac: "02:00:00:00:0a:08"}
          - {name: nine, host: host-a, interface: p9, mac: "02:00:00:00:0a:09"}
  - name: relayed
    governor: {broadcast: {copies: 1}}
    segments:
      - name: lan
        vni: 4504
        relay: {vni: 4505, threshold: 1}
        members: [host-b, host-c, host-e]
        ports: [{name: ten, host: host-a, interface: p10, mac: "02:00:00:00:0a:0a"}]
  - name: fast
    segments:
      - name: lan
        vni: 4506
        ports:
          - {name: eleven, host: host-a, interface: p11, mac: "02:00:00:00:0a:0b", governor: {broadcast: {copies: 25}, multicast: {copies: 200000}}}
          - {name: twelve, host: host-a, interface: p12, mac: "02:00:00:00:0a:0c"}
`

const meterPorts = 12

// newMeter loads the datapath of host-a of the document above.
func newMeter(t *testing.T, stage *Stage) *world {
	t.Helper()
	w := &world{Stage: stage, underlay: lab.IPv4}
	facts := w.Facts()
	for _, host := range []string{"host-b", "host-c", "host-e"} {
		addr := vtep(lab.IPv4, host)
		facts.Paths[addr], facts.MTUs[addr] = w.Path(addr, w.hop(host)), 1500
	}
	var err error
	if w.constants, err = w.Constants(vtep(lab.IPv4, "host-a")); err != nil {
		t.Fatal(err)
	}
	if w.Datapath, err = Load(w.Host, Options{Document: meterDocument, Host: "host-a", Facts: facts, Constants: w.constants}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Datapath.Close)
	return w
}

// bucketOf is the element of a port (environment/segment/port), or of the
// environment of a segment (environment/segment).
func (w *world) bucketOf(object string, class bpf.Class) uint32 {
	for slot, name := range w.Contents.SegmentNames {
		if name == object {
			return bpf.GovernorsEnvironments + w.Contents.Segments[slot].Environment*bpf.Classes + uint32(class)
		}
	}
	return w.Contents.Slots[object]*bpf.Classes + uint32(class)
}

// holds puts something into a bucket: how long it takes to work that off. An
// hour is longer than any test takes.
func holds(object string, class bpf.Class, copies, bytes time.Duration) func(*world) func() {
	return func(w *world) func() {
		element, now := w.bucketOf(object, class), fineClock()
		must(w.Maps.Buckets.Put(element, bpf.Bucket{Copies: now + uint64(copies), Bytes: now + uint64(bytes)}))
		return w.emptyBuckets
	}
}

// fineClock is the governor's clock, bpf_ktime_get_ns, in nanoseconds.
func fineClock() uint64 {
	var now unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return uint64(now.Nano())
}

// emptyBuckets makes that nothing has been spent.
func (w *world) emptyBuckets() {
	var objects []string
	for _, object := range w.Contents.SegmentNames {
		objects = append(objects, object)
	}
	for object := range w.Contents.Slots {
		objects = append(objects, object)
	}
	for _, object := range objects {
		for class := range classTargets {
			must(w.Maps.Buckets.Put(w.bucketOf(object, class), bpf.Bucket{}))
		}
	}
}

// bucket reads the bucket of an object.
func (w *world) bucket(t *testing.T, object string, class bpf.Class) bpf.Bucket {
	t.Helper()
	var b bpf.Bucket
	if err := w.Maps.Buckets.Lookup(w.bucketOf(object, class), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// classTargets are destinations that make a frame one of a class. Nobody asks
// for groups here, so all are flooded.
var classTargets = map[bpf.Class]net.HardwareAddr{
	bpf.ClassBroadcast:      macBroadcast,
	bpf.ClassUnknownUnicast: macNobody,
	bpf.ClassMulticast:      {0x33, 0x33, 0, 0, 0, 0x45},
}

// classFrame is a frame of 100 bytes of a class.
func classFrame(from net.HardwareAddr, class bpf.Class) []byte {
	return Ethernet(guest4(from), Station{MAC: classTargets[class]}, 0x88b5, make([]byte, 86))
}

// meteredFromPort is a frame of port one to two others and to host-b.
func (w *world) meteredFromPort(name string, class bpf.Class) row {
	r := w.sent(name, 1, "port/lan/one", classFrame(mac(0x0a, 1), class))
	r.stats["port/lan"] = bpf.Counters{InPackets: 1, InBytes: 100, OutPackets: 2, OutBytes: 200}
	for _, object := range []string{"port/lan/two", "port/lan/three", "host-b"} {
		r.stats[object] = out(100)
	}
	r.wrap = w.to("host-b", 4500)
	return r
}

// meteredFromRemote is a frame of host-b to the ports of the environment "whole".
func (w *world) meteredFromRemote(name string, class bpf.Class) row {
	frame := classFrame(mac(0x0b, 1), class)
	return row{
		name: name, program: bpf.UplinkIn, verdict: Redirected, data: frame,
		packet: Packet{Data: w.from("host-b", 4501).Wrap(frame), Ifindex: w.Ifindex(Uplink)},
		stats: map[string]bpf.Counters{
			"host-b": in(100), "whole/lan": {OutPackets: 2, OutBytes: 200},
			"whole/lan/four": out(100), "whole/lan/five": out(100),
		},
	}
}

// cut makes of a row what becomes of its frame beyond a limit: no copy at all.
func (w *world) cut(r row, reason bpf.Drop, segment string, prepare func(*world) func()) row {
	r.verdict, r.wrap, r.bare, r.prepare = Dropped, nil, nil, prepare
	for object, count := range r.stats {
		count.OutPackets, count.OutBytes = 0, 0
		r.stats[object] = count
		if count == (bpf.Counters{}) {
			delete(r.stats, object)
		}
	}
	r.drops = w.dropped(reason, r.packet.Ifindex, segment, 100)
	return r
}

// governorRows are frames within each limit and beyond it.
func (w *world) governorRows() []row {
	const port, whole = "port/lan/one", "whole/lan"
	var rows []row
	for class, limits := range map[bpf.Class][][2]time.Duration{ // copies, bytes
		bpf.ClassBroadcast:      {{time.Hour, 0}},
		bpf.ClassUnknownUnicast: {{0, time.Hour}},
		bpf.ClassMulticast:      {{time.Hour, 0}, {0, time.Hour}},
	} {
		for _, l := range limits {
			name := class.String()
			rows = append(rows,
				w.cut(w.meteredFromPort(name+" beyond what a port may", class), class.DropPort(), "port/lan", holds(port, class, l[0], l[1])),
				w.cut(w.meteredFromRemote(name+" of a remote beyond what an environment may", class), class.DropEnvironment(), "whole/lan", holds(whole, class, l[0], l[1])),
				w.cut(w.sent(name+" of a port beyond what its environment may", 4, "whole/lan/four", classFrame(mac(0x0a, 4), class)), class.DropEnvironment(), "whole/lan", holds(whole, class, l[0], l[1])))
		}
		// An empty bucket, and one that holds just less than the burst, take a
		// frame of any cost.
		for when, held := range map[string]time.Duration{"at first": -1, "within the burst": 99 * time.Millisecond} {
			fromPort := w.meteredFromPort(class.String()+" of a port "+when, class)
			fromPort.prepare = holds(port, class, held, held)
			fromRemote := w.meteredFromRemote(class.String()+" of a remote "+when, class)
			fromRemote.prepare = holds(whole, class, held, held)
			rows = append(rows, fromPort, fromRemote)
		}
		// A class has its own limits, and so have a port and an environment.
		for other := range classTargets {
			if other == class {
				continue
			}
			r := w.meteredFromPort(class.String()+" beside too much "+other.String(), class)
			r.prepare = holds(port, other, time.Hour, time.Hour)
			rows = append(rows, r)
		}
		r := w.meteredFromPort(class.String()+" beside an environment that may no more", class)
		r.prepare = holds(whole, class, time.Hour, time.Hour)
		rows = append(rows, r)
	}
	return append(rows, w.unicastBesideRow())
}

// unicastBesideRow is a frame to a known MAC: no limit is asked.
func (w *world) unicastBesideRow() row {
	frame := UDP(guest4(mac(0x0a, 1)), guest4(mac(0x0a, 2)), 100)
	r := w.sent("unicast beside limits that are all spent", 1, "port/lan/one", frame)
	n := uint64(len(frame))
	r.stats["port/lan"] = bpf.Counters{InPackets: 1, InBytes: n, OutPackets: 1, OutBytes: n}
	r.stats["port/lan/two"] = out(len(frame))
	r.prepare = func(w *world) func() {
		for class := range classTargets {
			holds("port/lan/one", class, time.Hour, time.Hour)(w)
		}
		return w.emptyBuckets
	}
	return r
}

// What goes to many is cut where a limit says so, whole, and not elsewhere.
func TestGovernor(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	x := w.watch(t)
	for _, r := range w.governorRows() {
		switch {
		case r.verdict == Redirected && r.packet.Ifindex == w.Ifindex(Uplink):
			r.bare = []string{Port(4)} // the frame itself goes to the last one
		case r.wrap != nil:
			r.bare = []string{Port(2), Port(3)}
		}
		x.run(t, r)
	}
	x.compare(t)
}

// charged is a span in which a bucket was charged once: it held something, or
// nothing, before.
type charged struct {
	since, until uint64
}

// spend runs a frame that must be let through, and returns when that was.
func (w *world) spend(t *testing.T, program string, p Packet) charged {
	t.Helper()
	c := charged{since: fineClock()}
	result, err := w.Run(program, p)
	if err != nil {
		t.Fatal(err)
	}
	if c.until = fineClock(); result.Verdict != Redirected {
		t.Fatalf("the frame was %s", result.Verdict)
	}
	return c
}

// costs checks that an empty bucket was charged this.
func (c charged) costs(t *testing.T, what string, until uint64, cost time.Duration) {
	t.Helper()
	if until < c.since+uint64(cost) || until > c.until+uint64(cost) {
		t.Errorf("%s: the bucket is empty %s after the frame, should be %s", what, time.Duration(until-c.since), cost)
	}
}

// A frame costs its copies, and their bytes; a super-frame as many as it has segments.
func TestGovernorCosts(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	packet := func(port int, class bpf.Class) Packet {
		return Packet{Data: classFrame(mac(0x0a, byte(port)), class), Ifindex: w.Ifindex(Port(port))}
	}
	remote := func(vni uint32, class bpf.Class) Packet {
		return Packet{Data: w.from("host-b", vni).Wrap(classFrame(mac(0x0b, 1), class)), Ifindex: w.Ifindex(Uplink)}
	}
	const second = time.Second

	c := w.spend(t, bpf.PortIn, packet(1, bpf.ClassMulticast))
	got := w.bucket(t, "port/lan/one", bpf.ClassMulticast)
	c.costs(t, "copies to two ports and a remote", got.Copies, 3*second)
	c.costs(t, "their bytes", got.Bytes, 3*second)

	c = w.spend(t, bpf.PortIn, packet(1, bpf.ClassBroadcast))
	got = w.bucket(t, "port/lan/one", bpf.ClassBroadcast)
	c.costs(t, "copies", got.Copies, 3*second)
	if got.Bytes != 0 {
		t.Errorf("bytes that are not limited are charged: %d", got.Bytes)
	}

	c = w.spend(t, bpf.UplinkIn, remote(4501, bpf.ClassMulticast))
	got = w.bucket(t, "whole/lan", bpf.ClassMulticast)
	c.costs(t, "copies of a remote's frame", got.Copies, 2*second)
	c.costs(t, "their bytes", got.Bytes, 2*second)

	// A relay's frame costs the environment what goes on to the zone, too.
	c = w.spend(t, bpf.UplinkIn, remote(4505, bpf.ClassBroadcast))
	c.costs(t, "copies of a relay's frame", w.bucket(t, "relayed/lan", bpf.ClassBroadcast).Copies, 3*second)

	super := packet(6, bpf.ClassBroadcast)
	super.GSOSize, super.GSOSegs = 30, 3
	c = w.spend(t, bpf.PortIn, super)
	got = w.bucket(t, "both/lan/six", bpf.ClassBroadcast)
	c.costs(t, "copies of a super-frame", got.Copies, 3*second)
	c.costs(t, "their bytes", got.Bytes, second)
	c.costs(t, "the same for the environment", w.bucket(t, "both/lan", bpf.ClassBroadcast).Copies, 3*second)
}

// A frame that is too big for the tunnel costs only the copies that are made.
func TestGovernorCostsOfTooBig(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	p := Packet{Data: UDP(guest6(mac(0x0a, 1)), Station{macBroadcast, netip.MustParseAddr("ff02::1")}, w.mtu()+1), Ifindex: w.Ifindex(Port(1))}
	c := w.spend(t, bpf.PortIn, p)
	c.costs(t, "copies to two ports", w.bucket(t, "port/lan/one", bpf.ClassBroadcast).Copies, 2*time.Second)
}

// Who asked for a group is copied to and paid for, and the sender is not,
// whether it asked too or not.
func TestGovernorCostsOfGroups(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	segment := w.segment("port/lan")
	must(w.Maps.SetSnooping(maps.Monotonic(), map[uint32]maps.Snooping{segment: {Reading: true, Lifetime: time.Hour}}))
	mdb, err := w.Maps.OpenMDB()
	if err != nil {
		t.Fatal(err)
	}
	group := netip.MustParseAddr("239.1.2.3")
	to := Station{net.HardwareAddr{1, 0, 0x5e, 1, 2, 3}, group}
	one, two, three := w.Ifindex(Port(1)), w.Ifindex(Port(2)), w.Ifindex(Port(3))
	for name, row := range map[string]struct {
		receivers maps.Receivers
		copies    time.Duration
	}{
		"the sender and another": {maps.Receivers{Ports: []uint32{one, two}}, 1},
		"two others":             {maps.Receivers{Ports: []uint32{two, three}}, 2},
		"one, and a remote":      {maps.Receivers{Ports: []uint32{three}, Remotes: []uint32{w.remote("host-b")}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			key := maps.GroupKey(segment, group, netip.Addr{})
			if err := mdb.Apply(map[bpf.MDBKey]maps.Receivers{key: row.receivers}, nil); err != nil {
				t.Fatal(err)
			}
			defer holds("port/lan/one", bpf.ClassMulticast, -1, -1)(w)()
			c := w.spend(t, bpf.PortIn, Packet{Data: UDP(guest4(mac(0x0a, 1)), to, 100), Ifindex: one})
			c.costs(t, "copies", w.bucket(t, "port/lan/one", bpf.ClassMulticast).Copies, row.copies*time.Second)
		})
	}
}

// What is cut costs nothing, whichever limit it is that refuses it.
func TestGovernorChargesNothingForWhatIsCut(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	const port, environment, class, some = "both/lan/six", "both/lan", bpf.ClassBroadcast, 50 * time.Millisecond
	for name, row := range map[string]struct {
		copies, bytes, whole time.Duration // what the buckets hold: the port's two, and the environment's
		reason               bpf.Drop
	}{
		"the port's copies":        {time.Hour, some, some, bpf.DropPortBroadcast},
		"the port's bytes":         {some, time.Hour, some, bpf.DropPortBroadcast},
		"the environment's copies": {some, some, time.Hour, bpf.DropEnvironmentBroadcast},
	} {
		t.Run(name, func(t *testing.T) {
			holds(port, class, row.copies, row.bytes)(w)
			holds(environment, class, row.whole, 0)(w)
			before := [2]bpf.Bucket{w.bucket(t, port, class), w.bucket(t, environment, class)}
			r := w.sent(name, 6, port, classFrame(mac(0x0a, 6), class))
			w.check(t, w.cut(r, row.reason, "both/lan", nil))
			after := [2]bpf.Bucket{w.bucket(t, port, class), w.bucket(t, environment, class)}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the buckets before and after:\n%s", diff)
			}
		})
	}
}

// Where there is no limit none is kept account of.
func TestGovernorOfNobody(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	for class := range classTargets {
		if class == bpf.ClassUnknownUnicast {
			continue // is dropped there
		}
		for range 10 {
			w.spend(t, bpf.PortIn, Packet{Data: classFrame(mac(0x0a, 8), class), Ifindex: w.Ifindex(Port(8))})
		}
		for _, object := range []string{"free/lan/eight", "free/lan"} {
			if got := w.bucket(t, object, class); got != (bpf.Bucket{}) {
				t.Errorf("%s has spent %+v of no limit on %s", object, got, class)
			}
		}
	}
}

// burst is what a bucket may hold before it takes no frame (bpf/governor.h).
const burst = 100 * time.Millisecond

// At first a burst goes through, and then as much as the rate lets through.
func TestGovernorBurstAndRate(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	const cost = 40 * time.Millisecond // of a copy, at 25 a second
	p := Packet{Data: classFrame(mac(0x0a, 0x0b), bpf.ClassBroadcast), Ifindex: w.Ifindex(Port(11))}
	through, first := 0, 0 // before the first that is cut
	begin := time.Now()
	for through < 8 {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("%d frames went through in 20 s: the bucket is not worked off", through)
		}
		result, err := w.Run(bpf.PortIn, p)
		if err != nil {
			t.Fatal(err)
		}
		if result.Verdict == Redirected {
			through++
		} else if first == 0 {
			first = through
		}
	}
	// Three of them are put in before the bucket holds a burst, however fast.
	if first < 3 {
		t.Errorf("%d frames before the first was cut, should be 3 at least", first)
	}
	// The last one went in when the others were worked off but for a burst.
	if took, least := time.Since(begin), time.Duration(through-1)*cost-burst; took < least {
		t.Errorf("%d frames in %s, should take %s at least", through, took, least)
	}
}

// Frames of several CPUs at once are charged each, and none of them more than
// the limit lets through.
func TestGovernorOnSeveralCPUs(t *testing.T) {
	w := newMeter(t, newStage(t, meterPorts))
	const cost, runs = 5 * time.Microsecond, 60_000 // of a copy, at 200,000 a second; of each of four threads
	p := Packet{Data: classFrame(mac(0x0a, 0x0b), bpf.ClassMulticast), Ifindex: w.Ifindex(Port(11))}
	// Half full from the start, the bucket cannot run empty while it is filled
	// faster than it is worked off, so that every charge shows.
	holds("fast/lan/eleven", bpf.ClassMulticast, burst/2, 0)(w)
	full := w.bucket(t, "fast/lan/eleven", bpf.ClassMulticast).Copies
	var group sync.WaitGroup
	begin := fineClock()
	for range 4 {
		group.Go(func() {
			if _, err := w.Time(bpf.PortIn, runs, func(int) Packet { return p }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	took := time.Duration(fineClock() - begin)
	counts, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	through := counts.Copies["fast/lan multicast"].Copies
	key := bpf.DropKey{Reason: bpf.DropPortMulticast, Ifindex: p.Ifindex, Segment: w.segment("fast/lan")}
	if all := through + counts.Drops[key].Packets; all != 4*runs {
		t.Errorf("%d frames went through or were cut, should be %d", all, 4*runs)
	}
	spent := time.Duration(through) * cost
	if until := w.bucket(t, "fast/lan/eleven", bpf.ClassMulticast).Copies; until < full+uint64(spent) {
		t.Errorf("%d copies were made, and %d of them are not charged", through, (full+uint64(spent)-until)/uint64(cost))
	}
	// When they get in each other's way too often, each CPU may let one more through.
	if most := took + burst + time.Duration(1+runtime.NumCPU())*cost; spent > most {
		t.Errorf("%d copies in %s cost %s, more than %s", through, took, spent, most)
	}
}
