// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"
	"strings"
	"testing"

	"overcast/policy"
)

func TestMTU(t *testing.T) {
	for name, c := range map[string]struct {
		underlay   int            // of the uplinks
		remotes    map[string]int // underlay MTU by VTEP; 0: no route
		configured int
		want       int
		err        string
	}{
		"IPv4":                         {remotes: map[string]int{"192.0.2.2": 1500}, want: 1450},
		"IPv6":                         {remotes: map[string]int{"2001:db8::2": 1500}, want: 1430},
		"jumbo":                        {remotes: map[string]int{"192.0.2.2": 9001}, want: 8951},
		"the smallest way":             {remotes: map[string]int{"192.0.2.2": 9001, "192.0.2.3": 1500, "192.0.2.4": 9001}, want: 1450},
		"no route counts not":          {remotes: map[string]int{"192.0.2.2": 9001, "192.0.2.3": 0}, want: 8951},
		"no route at all: the uplinks": {underlay: 4000, remotes: map[string]int{"192.0.2.3": 0}, want: 3950},
		"no remotes: the uplinks":      {underlay: 1500, want: 1450},
		"configured smaller":           {remotes: map[string]int{"192.0.2.2": 1500}, configured: 1400, want: 1400},
		"configured just so":           {remotes: map[string]int{"192.0.2.2": 1500}, configured: 1450, want: 1450},
		"configured larger is cut":     {remotes: map[string]int{"192.0.2.2": 1500}, configured: 1500, want: 1450},
		"just IPv6's least":            {remotes: map[string]int{"192.0.2.2": 1330}, want: 1280},
		"one byte too small": {remotes: map[string]int{"192.0.2.2": 1329},
			err: "segment env/a: the underlay leaves an MTU of 1279, and IPv6 needs 1280: raise the underlay's MTU by 1"},
		"a cloud's 1300": {remotes: map[string]int{"192.0.2.2": 1300},
			err: "segment env/a: the underlay leaves an MTU of 1250, and IPv6 needs 1280: raise the underlay's MTU by 30"},
		"a smaller configured one does not help": {remotes: map[string]int{"192.0.2.2": 1300}, configured: 1280,
			err: "segment env/a: the underlay leaves an MTU of 1250, and IPv6 needs 1280: raise the underlay's MTU by 30"},
		"smaller than the headers": {remotes: map[string]int{"192.0.2.2": 40, "192.0.2.3": 1500},
			err: "segment env/a: the underlay leaves an MTU of -10, and IPv6 needs 1280: raise the underlay's MTU by 1290"},
		"uplinks too small": {underlay: 1300,
			err: "segment env/a: the underlay leaves an MTU of 1250, and IPv6 needs 1280: raise the underlay's MTU by 30"},
	} {
		t.Run(name, func(t *testing.T) {
			segment := newSegment("a", 1, nil)
			segment.MTU = c.configured
			facts := Facts{MTUs: make(map[netip.Addr]int), MTU: c.underlay}
			for text, mtu := range c.remotes {
				vtep := netip.MustParseAddr(text)
				segment.Remotes = append(segment.Remotes, vtep)
				if mtu != 0 {
					facts.MTUs[vtep] = mtu
				}
			}
			got, err := Compile(newState(segment), facts, &Snapshot{}, small)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if mtu := got.Segments[1].Mtu; int(mtu) != c.want {
				t.Errorf("got %d, want %d", mtu, c.want)
			}
		})
	}
}

// A segment that runs keeps its MTU when the underlay becomes too small for
// it, and is told; one that is new beside it is refused.
func TestMTUIsKept(t *testing.T) {
	vtep := netip.MustParseAddr("192.0.2.2")
	runs, fresh := newSegment("a", 1, nil), newSegment("b", 2, nil)
	runs.Remotes, fresh.Remotes = []netip.Addr{vtep}, []netip.Addr{vtep}
	state := &policy.State{Segments: []policy.Segment{runs}, Remotes: []policy.Remote{{Name: "b", VTEP: vtep}}}
	compile := func(have *Snapshot, underlay int) (*Contents, error) {
		return Compile(state, Facts{MTUs: map[netip.Addr]int{vtep: underlay}}, have, small)
	}
	first, err := compile(&Snapshot{}, 1500)
	if err != nil || len(first.Problems) > 0 {
		t.Fatalf("%v, %q", err, first.Problems)
	}
	second, err := compile(&first.Snapshot, 1300)
	if err != nil {
		t.Fatal(err)
	}
	for slot := range second.Segments {
		if got := second.Segments[slot].Mtu; got != 1450 {
			t.Errorf("the MTU is %d", got)
		}
	}
	if want := "segment env/a: the underlay leaves an MTU of 1250, and IPv6 needs 1280: raise the underlay's MTU by 30; it keeps 1450"; len(second.Problems) != 1 || second.Problems[0] != want {
		t.Errorf("problems are %q", second.Problems)
	}
	state.Segments = append(state.Segments, fresh)
	if _, err := compile(&first.Snapshot, 1300); err == nil || !strings.Contains(err.Error(), "segment env/b: ") {
		t.Errorf("a new segment: %v", err)
	}
}
