// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"overcast/bpf"
)

// Event is a frame that the programs hand to the agent. One without a frame
// comes once, behind those that were handed over before the agent was there.
type Event struct {
	Segment uint32 // slot
	Ifindex uint32 // the port that it came in on; 0: from a remote
	Remote  uint32 // that remote's slot
	Frame   []byte // from the Ethernet header on
}

// eventHeader is what stands in front of a frame, in bytes.
const eventHeader = int(unsafe.Sizeof(bpf.Event{}))

// eventReader reads oc_events, which is pinned: what the programs handed over
// while no agent was there comes first.
type eventReader struct {
	C      <-chan Event
	reader *ringbuf.Reader
	done   chan struct{} // closed when nothing more comes
}

// eventBacklog is how many frames wait for the agent here; the rest waits in
// the ring.
const eventBacklog = 1024

func readEvents(events *ebpf.Map, log *slog.Logger) (*eventReader, error) {
	reader, err := ringbuf.NewReader(events)
	if err != nil {
		return nil, fmt.Errorf("reading oc_events: %w", err)
	}
	if err := reader.Flush(); err != nil {
		reader.Close()
		return nil, fmt.Errorf("reading oc_events: %w", err)
	}
	c, done := make(chan Event, eventBacklog), make(chan struct{})
	go func() {
		defer close(done)
		for {
			record, err := reader.Read()
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if errors.Is(err, ringbuf.ErrFlushed) {
				c <- Event{}
				continue
			}
			if err != nil {
				log.Error("cannot read oc_events; groups are flooded", "error", err)
				return
			}
			if event, ok := parseEvent(record.RawSample); ok {
				c <- event
			}
		}
	}()
	return &eventReader{c, reader, done}, nil
}

// reads tells whether what the programs hand over is read.
func (r *eventReader) reads() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// parseEvent reads a record. Programs of another version may have written it.
func parseEvent(record []byte) (Event, bool) {
	if len(record) < eventHeader {
		return Event{}, false
	}
	head := (*bpf.Event)(unsafe.Pointer(unsafe.SliceData(record)))
	frame := record[eventHeader:]
	if uint64(head.Length) > uint64(len(frame)) {
		return Event{}, false
	}
	return Event{head.Segment, head.Ifindex, head.Remote, frame[:head.Length]}, true
}

// close ends the reading. Nobody reads C any more, so what waits there is taken.
func (r *eventReader) close() {
	_ = r.reader.Close()
	for {
		select {
		case <-r.C:
		case <-r.done:
			return
		}
	}
}
