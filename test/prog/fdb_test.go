// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"net"
	"testing"

	"overcast/bpf"
)

// The program finds every MAC that the agent has put into the FDB, in whichever
// bucket, or in the spill: program and agent have the same idea of a key's hash.
// There are more here than the buckets have slots for.
func TestCrowdedFDB(t *testing.T) {
	w := newWorld(t, underlays[0], nil)
	segment, remote := w.segment("shop/lan"), w.remote("host-b")
	crowd := make(map[bpf.FDBKey]bpf.FDBEntry)
	for n := range 3 * int(w.Maps.FDB.MaxEntries()) * bpf.FDBSlots / 2 {
		key := bpf.FDBKey{Segment: segment, Mac: [6]byte{2, 0xcc, 0, 0, byte(n >> 8), byte(n)}}
		crowd[key] = bpf.FDBEntry{Kind: bpf.KindRemote, Id: remote}
	}
	if err := w.Maps.PutFDB(crowd); err != nil {
		t.Fatal(err)
	}
	before, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for key := range crowd {
		p := Packet{Data: ARP(guest4(macOne), guest4(net.HardwareAddr(key.Mac[:]))), Ifindex: w.Ifindex(Port(1))}
		if got, err := w.Run(bpf.PortIn, p); err != nil || got.Verdict != Redirected {
			t.Fatalf("%v: %+v, %v", net.HardwareAddr(key.Mac[:]), got, err)
		}
		// Nobody has the same MAC in another segment.
		p.Ifindex = w.Ifindex(Port(10))
		p.Data = ARP(guest4(macTwo), guest4(net.HardwareAddr(key.Mac[:])))
		if got, err := w.Run(bpf.PortIn, p); err != nil || got.Verdict != Dropped {
			t.Fatalf("%v of another segment: %+v, %v", net.HardwareAddr(key.Mac[:]), got, err)
		}
	}
	after, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if sent := after.Since(before).Stats["host-b"].OutPackets; sent != uint64(len(crowd)) {
		t.Errorf("%d of %d frames were sent to their remote", sent, len(crowd))
	}
}
