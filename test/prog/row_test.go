// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

// row is a packet and all that must become of it.
type row struct {
	name    string
	program string
	packet  Packet
	prepare func(*world) (undo func()) // what the maps hold that the agent did not write

	verdict Verdict
	// The packet afterwards: data, or the tunnel packet in which it went, or the
	// answer that it is too big; if none is set, just as it was.
	data   []byte
	wrap   *Outer
	answer bool
	meta   []byte // of XDP
	// The copies that were sent before: of the bare frame to devices, and in
	// tunnel packets to hosts.
	bare      []string
	tunnelled []string
	under     map[string]uint32 // the VNIs of those hosts that are not sent to under that of wrap
	// What is counted, and nothing else is.
	stats  map[string]bpf.Counters
	copies map[string]bpf.CopyCount // nil: those that stats tell of
	drops  map[bpf.DropKey]bpf.DropCount
}

// run runs a row as a test of its own.
func (w *world) run(t *testing.T, r row) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		t.Helper()
		w.check(t, r)
	})
}

// check runs a row's packet and returns what became of it.
func (w *world) check(t *testing.T, r row) Result {
	t.Helper()
	if r.prepare != nil {
		defer r.prepare(w)()
	}
	before, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	result, err := w.Run(r.program, r.packet)
	if err != nil {
		t.Fatal(err)
	}
	after, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if result.Verdict != r.verdict {
		t.Errorf("verdict %v, should be %v", result.Verdict, r.verdict)
	}
	if want := w.afterwards(t, r, result); !bytes.Equal(result.Data, want) {
		t.Errorf("the packet afterwards, %d bytes:\n% x\nshould be, %d bytes:\n% x", len(result.Data), result.Data, len(want), want)
	}
	if !bytes.Equal(result.Meta, r.meta) {
		t.Errorf("metadata % x, should be % x", result.Meta, r.meta)
	}
	counts := after.Since(before)
	if diff := cmp.Diff(orEmpty(r.stats), counts.Stats); diff != "" {
		t.Errorf("counters, - should be, + are:\n%s", diff)
	}
	if diff := cmp.Diff(orEmpty(r.copied()), counts.Copies); diff != "" {
		t.Errorf("copies, - should be, + are:\n%s", diff)
	}
	if diff := cmp.Diff(orEmpty(r.drops), counts.Drops); diff != "" {
		t.Errorf("drops, - should be, + are:\n%s", diff)
	}
	return result
}

func orEmpty[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}

// copied is what should be counted as copies: of a frame to many, a copy for
// each port and remote that something went out to.
func (r row) copied() map[string]bpf.CopyCount {
	frame := r.frame()
	if r.copies != nil || frame[0]&1 == 0 && !bytes.HasPrefix(frame, macNobody) {
		return r.copies
	}
	segment, copies := "", uint64(0)
	for object, count := range r.stats {
		if strings.Count(object, "/") == 1 {
			segment = object
		} else {
			copies += count.OutPackets
		}
	}
	if copies == 0 {
		return nil
	}
	frames := uint64(max(r.packet.GSOSegs, 1))
	return map[string]bpf.CopyCount{segment + " " + class(frame): {Frames: frames, Copies: copies}}
}

// class is the name of a frame's class, if it goes to many.
func class(frame []byte) string {
	switch {
	case bytes.HasPrefix(frame, macBroadcast):
		return bpf.ClassBroadcast.String()
	case frame[0]&1 != 0:
		return bpf.ClassMulticast.String()
	}
	return bpf.ClassUnknownUnicast.String()
}

// frame is the guest's frame, which comes bare or is stripped.
func (r row) frame() []byte {
	if r.data != nil {
		return r.data
	}
	return r.packet.Data
}

// vni is the one that a host's copy goes under.
func (r row) vni(host string) uint32 {
	if vni, other := r.under[host]; other {
		return vni
	}
	return r.wrap.VNI
}

// afterwards is the packet that the row wants. The source port of a tunnel
// packet is a hash with a secret of the kernel's in it: any of the range is
// right, and TestSourcePorts has the rest.
func (w *world) afterwards(t *testing.T, r row, result Result) []byte {
	t.Helper()
	if r.answer {
		return answerTo(t, r.packet.Data, w.mtu(), result.Data)
	}
	if r.wrap == nil {
		return r.frame()
	}
	outer := *r.wrap
	outer.Source = w.sourcePort(t, result.Data)
	return outer.Wrap(r.frame())
}

// sourcePort reads the UDP source port of a tunnel packet of ours.
func (w *world) sourcePort(t *testing.T, packet []byte) uint16 {
	t.Helper()
	at := w.outerHeaders() - 8 - 8
	if len(packet) < at+2 {
		t.Errorf("no tunnel packet: % x", packet)
		return 0
	}
	port := binary.BigEndian.Uint16(packet[at:])
	if port < w.constants.SourcePortMin || port-w.constants.SourcePortMin >= w.constants.SourcePorts {
		t.Errorf("source port %d is out of the range", port)
	}
	return port
}

// in and out count one packet.
func in(bytes int) bpf.Counters  { return bpf.Counters{InPackets: 1, InBytes: uint64(bytes)} }
func out(bytes int) bpf.Counters { return bpf.Counters{OutPackets: 1, OutBytes: uint64(bytes)} }

// dropped counts one packet for a reason. segment: the name, or empty where it
// is not known yet.
func (w *world) dropped(reason bpf.Drop, ifindex uint32, segment string, bytes int) map[bpf.DropKey]bpf.DropCount {
	key := bpf.DropKey{Reason: reason, Ifindex: ifindex}
	if segment != "" {
		key.Segment = w.segment(segment)
	}
	return map[bpf.DropKey]bpf.DropCount{key: {Packets: 1, Bytes: uint64(bytes)}}
}

// reasons are the drop reasons that rows provoke.
func reasons(rows []row) map[bpf.Drop]bool {
	seen := make(map[bpf.Drop]bool)
	for _, r := range rows {
		for key := range r.drops {
			seen[key.Reason] = true
		}
	}
	return seen
}
