// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/maps"
)

// heard is a row, and what the agent hears of it.
type heard struct {
	row
	event   []byte // the frame that it is handed; nil: none
	segment string // in which it was; "": the listener's
	missed  bool   // it is told that it has missed something
}

// Room for a frame in an event (SNOOP_SMALL, SNOOP_PACKET and SNOOP_LARGE in
// snoop.h), and as how many messages one counts that takes it.
const (
	smallEvent, packetEvent, largeEvent = 512, 1600, 9216
	packetCost, largeCost               = packetEvent / smallEvent, largeEvent / smallEvent
)

// eventRoom is what a frame of so many bytes takes of the ring, and what it costs.
func eventRoom(bytes int) (takes, costs int) {
	switch {
	case bytes <= smallEvent:
		return smallEvent, 1
	case bytes <= packetEvent:
		return packetEvent, packetCost
	}
	return largeEvent, largeCost
}

// listener is a world and the agent's end of oc_events, and where what comes to
// it is from.
type listener struct {
	*world
	x       *watch
	ring    *ringbuf.Reader
	segment string
	host    string // what is from no port
}

func newListener(t *testing.T, w *world, segment, host string) *listener {
	t.Helper()
	ring, err := ringbuf.NewReader(w.Maps.Events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return &listener{world: w, ring: ring, segment: segment, host: host}
}

// step runs a row and compares what the agent hears.
func (l *listener) step(t *testing.T, h heard) {
	t.Helper()
	prepare := h.prepare
	h.prepare = nil
	if prepare != nil {
		defer prepare(l.world)()
	}
	l.x.run(t, h.row)
	l.compare(t, h)
}

// compare compares what the agent hears of a row whose packet has been through.
func (l *listener) compare(t *testing.T, h heard) {
	t.Helper()
	var want [][]byte
	if h.event != nil {
		want = append(want, l.record(h))
	}
	got := l.records(t)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s: the events\n% x\nshould be\n% x", h.name, got, want)
	}
	if missed := l.caughtUp(t); missed != h.missed {
		t.Errorf("%s: the agent has missed something: %t, should be %t", h.name, missed, h.missed)
	}
}

// record is what stands in the ring: struct oc_event, the frame, and what is
// left of its room, which is not looked at.
func (l *listener) record(h heard) []byte {
	ifindex, remote := h.packet.Ifindex, uint32(0)
	if h.program != bpf.PortIn {
		ifindex, remote = 0, l.remote(l.host)
	}
	segment := l.segment
	if h.segment != "" {
		segment = h.segment
	}
	var record []byte
	for _, word := range []uint32{l.world.segment(segment), ifindex, remote, uint32(len(h.event))} {
		record = binary.NativeEndian.AppendUint32(record, word)
	}
	takes, _ := eventRoom(len(h.event))
	return append(append(record, h.event...), make([]byte, takes-len(h.event))...)
}

// records reads what is in the ring, and blanks what is behind the frames.
func (l *listener) records(t *testing.T) [][]byte {
	t.Helper()
	l.ring.SetDeadline(time.Unix(1, 0))
	var records [][]byte
	for {
		record, err := l.ring.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		const header = 16
		clear(record.RawSample[header+binary.NativeEndian.Uint32(record.RawSample[12:]):])
		records = append(records, record.RawSample)
	}
}

// caughtUp tells whether the agent has missed something of its segment, and has
// it catch up.
func (l *listener) caughtUp(t *testing.T) bool {
	t.Helper()
	missed, err := l.Maps.Missed()
	if err != nil {
		t.Fatal(err)
	}
	slot := l.world.segment(l.segment)
	when, some := missed[slot]
	if err := l.Maps.CatchUp(slot, when); err != nil {
		t.Fatal(err)
	}
	delete(missed, slot)
	if len(missed) > 0 {
		t.Errorf("messages of other segments have been missed: %v", missed)
	}
	return some
}

// taken is a message of port five that the agent gets, and nobody else.
func (w *world) taken(name string, frame []byte) heard {
	return heard{row: w.copied(name, frame, nil), event: frame}
}

// takenFromRemote is the same of host-b.
func (w *world) takenFromRemote(name string, frame []byte) heard {
	h := heard{row: w.copiedFromRemote(name, frame), event: frame}
	if h.verdict == Passed {
		h.event = nil
	}
	return h
}

// wideAll are the ports of shop/wide.
var wideAll = []int{5, 6, 7}

// seen is a frame of port five that goes to all, and to the agent too.
func (w *world) seen(name string, frame []byte) heard {
	return heard{row: w.flooded(name, frame), event: frame}
}

func (w *world) seenFromRemote(name string, frame []byte) heard {
	h := heard{row: w.copiedFromRemote(name, frame, wideAll...), event: frame}
	if h.verdict == Passed {
		h.event = nil
	}
	return h
}

// after has something be so for a row.
func after(h heard, prepare func(*world) func()) heard {
	h.prepare = prepare
	return h
}

// both has two things be so for a row.
func both(a, b func(*world) func()) func(*world) func() {
	return func(w *world) func() {
		undoA := a(w)
		undoB := b(w)
		return func() { undoB(); undoA() }
	}
}

// come sends a row's packet, and compares what is counted and what the agent hears.
func (l *listener) come(t *testing.T, h heard, send func(*testing.T, string, []byte)) {
	t.Helper()
	entry := map[bpf.MDBKey]maps.Receivers{l.entry("shop/wide", video6.IP.String(), ""): l.receivers([]int{6})}
	defer told(entry, "shop/wide")(l.world)()
	before, err := l.Counts()
	if err != nil {
		t.Fatal(err)
	}
	send(t, l.device(h.packet.Ifindex), h.packet.Data)
	l.await(t, h.row, before)
	// What is counted first may be handed over a moment later.
	for deadline := time.Now().Add(5 * time.Second); h.event != nil && l.ring.AvailableBytes() == 0 && time.Now().Before(deadline); {
		time.Sleep(millisecond)
	}
	l.compare(t, h)
}

func (w *world) sendWhole(t *testing.T, device string, frame []byte) {
	t.Helper()
	if err := w.Far.SendFrame(device, frame); err != nil {
		t.Fatal(err)
	}
}

// sendScattered sends a frame of more than a page, of which the kernel has only
// the Ethernet header at hand. The rest is in fragments.
func (w *world) sendScattered(t *testing.T, device string, frame []byte) {
	t.Helper()
	index, err := w.Far.LinkIndex(device)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Far.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return fmt.Errorf("PACKET_VNET_HDR: %w", err)
		}
		// struct virtio_net_hdr (linux/virtio_net.h), of which only the length of
		// the headers says something: packet_snd makes no more of it linear.
		header := make([]byte, 10)
		binary.NativeEndian.PutUint16(header[2:], 14)
		return unix.Sendto(fd, append(header, frame...), 0, &unix.SockaddrLinklayer{Ifindex: int(index)})
	})
	if err != nil {
		t.Fatal(err)
	}
}
