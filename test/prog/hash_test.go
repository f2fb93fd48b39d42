// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"overcast/bpf"
)

// A flow keeps its outer source port, flows have many, and all of them are in
// the range that the constants name.
func TestSourcePorts(t *testing.T) {
	for _, underlay := range underlays {
		for _, ports := range []uint16{1, 16, 10000, 16384} {
			t.Run(fmt.Sprintf("%s/%d", underlay, ports), func(t *testing.T) {
				const least = 20000
				w := newWorld(t, underlay, func(c *bpf.Constants) { c.SourcePortMin, c.SourcePorts = least, ports })
				seen := make(map[uint16]bool)
				for flow := range 128 {
					frame := UDP(guest6(macOne), guest6(macB), 100)
					binary.BigEndian.PutUint16(frame[14+40:], uint16(3000+flow))
					port := w.portOf(t, frame)
					// What does not make the flow does not matter.
					binary.BigEndian.PutUint16(frame[14+40+6:], 0xbeef)
					frame[len(frame)-1]++
					if again := w.portOf(t, frame); again != port {
						t.Errorf("flow %d has the ports %d and %d", flow, port, again)
					}
					if port < least || port-least >= ports {
						t.Errorf("port %d is out of the range", port)
					}
					seen[port] = true
				}
				// Of 16 ports 128 flows miss one in 250 runs, and two hardly ever.
				if want := min(int(ports), 100); len(seen) < want-want/8 {
					t.Errorf("128 flows have %d ports, should have some %d", len(seen), want)
				}
			})
		}
	}
}

// portOf sends a frame to a remote and returns the source port of its packet.
func (w *world) portOf(t *testing.T, frame []byte) uint16 {
	t.Helper()
	result, err := w.Run(bpf.PortIn, Packet{Data: frame, Ifindex: w.Ifindex(Port(1))})
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint16(result.Data[w.outerHeaders()-8-8:])
}

// A port that sends nothing but what is too big gets a burst of answers, then
// one each 10 ms, and does not take another port's.
func TestAnswersAreLimited(t *testing.T) {
	w := newWorld(t, underlays[0], nil)
	packet := Packet{Data: TCP(guest6(macOne), guest6(macB), w.mtu()+1), Ifindex: w.Ifindex(Port(1))}
	const tries = 200
	began := time.Now()
	if _, err := w.Time(bpf.PortIn, tries, func(int) Packet { return packet }); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	counts, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	key := bpf.DropKey{Reason: bpf.DropMTUAnswered, Ifindex: packet.Ifindex, Segment: w.segment("shop/lan")}
	answered := counts.Drops[key].Packets
	key.Reason = bpf.DropMTULimited
	limited := counts.Drops[key].Packets
	if answered+limited != tries {
		t.Errorf("%d answered and %d not, of %d", answered, limited, tries)
	}
	if most := 10 + uint64(took/(10*time.Millisecond)); answered < 10 || answered > most {
		t.Errorf("%d answered in %v, should be 10 to %d", answered, took, most)
	}
	other := w.sent("another port", 3, "shop/lan/list", TCP(guest6(mac(0x0a, 3)), guest6(macB), w.mtu()+1))
	other.answer, other.drops = true, w.dropped(bpf.DropMTUAnswered, w.Ifindex(Port(3)), "shop/lan", len(other.packet.Data))
	w.run(t, other)
}
