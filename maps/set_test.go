// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/policy"
)

// small are limits that are reached quickly.
var small = Limits{MACs: 64, Learned: 64, Groups: 16, Remotes: 16}

// newSet makes the maps of the datapath, unpinned and of no one else.
func newSet(t testing.TB, limits Limits) *Set {
	t.Helper()
	// Kernels before 5.11 count map memory against the limit of the process.
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := bpf.Spec()
	if err != nil {
		t.Fatal(err)
	}
	Size(spec, limits)
	set := &Set{}
	t.Cleanup(set.Close)
	for _, n := range set.Named() {
		if *n.Map, err = ebpf.NewMap(spec.Maps[n.Name]); err != nil {
			t.Fatalf("map %s (root is needed): %v", n.Name, err)
		}
	}
	return set
}

func testVTEP(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
}

func testMAC(i int) policy.MAC {
	return policy.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
}

// testHost is host number i of the tests; number 1 is where they run.
func testHost(i int) policy.Host {
	return policy.Host{Name: fmt.Sprintf("host-%d", i), VTEP: testVTEP(i)}
}

// testPath is a path all of whose parts tell the same number, so that a mix of
// two paths shows.
func testPath(i int) bpf.Path {
	p := bpf.Path{Ifindex: uint32(i), Flags: bpf.PathEthernet | bpf.PathMACs, Family: unix.AF_INET}
	for at := range p.Dst {
		p.Dst[at], p.Src[at] = byte(i), byte(i)
	}
	for at := range p.NextHop {
		p.NextHop[at] = byte(i)
	}
	return p
}

// newState is a state of host-1 with these segments; its remotes are those of
// the segments.
func newState(segments ...policy.Segment) *policy.State {
	s := &policy.State{Host: testHost(1), Tunnel: policy.DefaultTunnel(policy.VXLAN), Segments: segments}
	seen := make(map[netip.Addr]bool)
	for _, segment := range segments {
		for _, vtep := range segment.Remotes {
			if !seen[vtep] {
				seen[vtep] = true
				s.Remotes = append(s.Remotes, policy.Remote{Name: "host-" + vtep.String(), VTEP: vtep})
			}
		}
	}
	slices.SortFunc(s.Remotes, func(a, b policy.Remote) int { return a.VTEP.Compare(b.VTEP) })
	return s
}

// newFacts gives the state's interfaces ifindexes by order of their names from
// 100 on, its remotes a path each, and an underlay of 1500.
func newFacts(state *policy.State) Facts {
	facts := Facts{Ports: make(map[string]PortFacts), Paths: make(map[netip.Addr]bpf.Path), MTUs: make(map[netip.Addr]int), MTU: 1500}
	for _, segment := range state.Segments {
		for _, port := range segment.Ports {
			var n uint32
			if _, err := fmt.Sscanf(port.Interface, "tap%d", &n); err != nil {
				panic(err)
			}
			facts.Ports[port.Interface] = PortFacts{Ifindex: 100 + n}
		}
	}
	for _, remote := range state.Remotes {
		facts.Paths[remote.VTEP] = testPath(int(remote.VTEP.As4()[3]))
		facts.MTUs[remote.VTEP] = 1500
	}
	return facts
}

// newPort is port pN on tapN.
func newPort(n int) policy.Port {
	return policy.Port{Name: fmt.Sprintf("p%d", n), Interface: fmt.Sprintf("tap%d", n), MAC: testMAC(n), HasMAC: true}
}

// newSegment is a segment of the environment "env" with these ports and with
// the MAC of each in its FDB.
func newSegment(name string, vni uint32, remotes []int, ports ...int) policy.Segment {
	s := policy.Segment{Environment: "env", Name: name, VNI: vni}
	for _, i := range remotes {
		s.Remotes = append(s.Remotes, testVTEP(i))
	}
	for _, n := range ports {
		s.Ports = append(s.Ports, newPort(n))
		s.FDB = append(s.FDB, policy.Entry{MAC: testMAC(n), Port: newPort(n).Name})
	}
	return s
}

func compile(t testing.TB, state *policy.State, facts Facts, have *Snapshot, limits Limits) *Contents {
	t.Helper()
	if have == nil {
		have = &Snapshot{}
	}
	want, err := Compile(state, facts, have, limits)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// bring takes a set to a state the way the loader does, and returns what it
// wrote for that.
func bring(t testing.TB, set *Set, state *policy.State, facts Facts, limits Limits) (*Contents, Writes) {
	t.Helper()
	want := compile(t, state, facts, snapshot(t, set), limits)
	before := set.Writes()
	if err := set.Apply(snapshot(t, set), want); err != nil {
		t.Fatal(err)
	}
	after := set.Writes()
	return want, Writes{after.Put - before.Put, after.Deleted - before.Deleted, after.Batches - before.Batches}
}

func snapshot(t testing.TB, set *Set) *Snapshot {
	t.Helper()
	snap, err := set.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return snap
}
