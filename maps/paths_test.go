// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

// pathsState has three remotes, 2 to 4, with a path each.
func pathsState(t *testing.T, set *Set) map[netip.Addr]bpf.Path {
	t.Helper()
	state := newState(newSegment("a", 1, []int{2, 3, 4}, 1))
	facts := newFacts(state)
	bring(t, set, state, facts, small)
	return facts.Paths
}

func TestSetPathsWritesOnlyWhatChanged(t *testing.T) {
	set := newSet(t, small)
	paths := pathsState(t, set)
	before := snapshot(t, set)
	writes := set.Writes()
	set0 := func(want int, wrote uint64) {
		t.Helper()
		n, err := set.SetPaths(paths)
		if put := set.Writes().Put - writes.Put; err != nil || n != want || put != wrote {
			t.Errorf("changed %d with %d entries written, %v; want %d with %d", n, put, err, want, wrote)
		}
		writes = set.Writes()
		for slot, remote := range snapshot(t, set).Remotes {
			if remote.CurrentPath() != paths[remote.Vtep.NetAddr()] {
				t.Errorf("remote %d goes by %+v, want %+v", slot, remote.CurrentPath(), paths[remote.Vtep.NetAddr()])
			}
		}
	}
	set0(0, 0)
	// Twice: the path that is not in use, and the word that turns to it.
	paths[testVTEP(3)] = testPath(77)
	set0(1, 2)
	paths[testVTEP(2)], paths[testVTEP(3)] = testPath(78), testPath(79)
	set0(2, 4)
	// The route goes, and comes back.
	delete(paths, testVTEP(4))
	set0(1, 2)
	paths[testVTEP(4)] = testPath(4)
	set0(1, 2)
	// One that is no remote of ours is none of our business.
	paths[testVTEP(50)] = testPath(50)
	set0(0, 0)

	after := snapshot(t, set)
	before.Remotes, after.Remotes = nil, nil
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("other maps changed (-before +after):\n%s", diff)
	}
}

// A path change by Apply writes the remotes concerned and nothing else.
func TestApplyPath(t *testing.T) {
	set := newSet(t, small)
	state := newState(newSegment("a", 1, []int{2, 3, 4}, 1))
	facts := newFacts(state)
	bring(t, set, state, facts, small)
	facts.Paths[testVTEP(3)] = testPath(77)
	if _, writes := bring(t, set, state, facts, small); writes != (Writes{Put: 2}) {
		t.Errorf("wrote %+v, want the one remote twice", writes)
	}
}

// So does another size of what gets there, in one write.
func TestApplyRemoteMTU(t *testing.T) {
	set := newSet(t, small)
	segment := newSegment("a", 1, []int{2, 3, 4}, 1)
	segment.MTU = 1300 // the same in all this
	state := newState(segment)
	facts := newFacts(state)
	bring(t, set, state, facts, small)
	facts.MTUs[testVTEP(3)] = 1400
	if _, writes := bring(t, set, state, facts, small); writes != (Writes{Put: 1}) {
		t.Errorf("wrote %+v, want the one remote", writes)
	}
	facts.MTUs[testVTEP(3)], facts.Paths[testVTEP(3)] = 1360, testPath(77)
	want, writes := bring(t, set, state, facts, small)
	if writes != (Writes{Put: 2}) {
		t.Errorf("wrote %+v, want the one remote twice", writes)
	}
	if n, err := set.SetPaths(map[netip.Addr]bpf.Path{testVTEP(2): testPath(2), testVTEP(3): testPath(78), testVTEP(4): testPath(4)}); err != nil || n != 1 {
		t.Errorf("%d changed, %v", n, err)
	}
	got := make(map[netip.Addr]uint32)
	for slot := range want.Remotes {
		var remote bpf.Remote
		if err := set.Remotes.Lookup(&slot, &remote); err != nil {
			t.Fatal(err)
		}
		got[remote.Vtep.NetAddr()] = remote.Mtu
	}
	if diff := cmp.Diff(map[netip.Addr]uint32{testVTEP(2): 1450, testVTEP(3): 1310, testVTEP(4): 1450}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("MTUs (-want +got):\n%s", diff)
	}
	if segment := want.Segments[1]; segment.Mtu != 1300 || segment.MtuMost != 1300 {
		t.Errorf("segment %+v", segment)
	}
}

// Whoever reads a remote while its path changes finds one of the paths that
// it ever had, whole. Each path tells its number in all of its parts.
func TestPathsAreNeverTorn(t *testing.T) {
	set := newSet(t, small)
	paths := pathsState(t, set)
	stop, torn := make(chan struct{}), make(chan bpf.Path, 1)
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	var reads atomic.Uint64
	go func() {
		defer close(torn)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for slot := range uint32(3) {
				slot++
				var remote bpf.Remote
				if err := set.Remotes.Lookup(&slot, &remote); err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
				if path := remote.CurrentPath(); path != testPath(int(path.Ifindex)) {
					torn <- path
					return
				}
			}
		}
	}()
	for i := range 2000 {
		for vtep := range paths {
			paths[vtep] = testPath(i%250 + 1)
		}
		if n, err := set.SetPaths(paths); err != nil || n != 3 {
			t.Fatalf("round %d changed %d, %v", i, n, err)
		}
		// The watcher gathers changes for milliseconds and a program runs for
		// microseconds, so no reader lives through two changes.
		for seen := reads.Load(); reads.Load() < seen+2; {
			select {
			case path, ok := <-torn:
				t.Fatalf("read a torn path (%t): %+v", ok, path)
			default:
				runtime.Gosched()
			}
		}
	}
	end()
	if path, ok := <-torn; ok {
		t.Errorf("read a torn path: %+v", path)
	}
}
