// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/cilium/ebpf"

	"overcast/test/lab"
)

// copied is what became of frames and their copies.
type copied struct {
	spent      time.Duration
	frames     uint64
	sent, lost uint64 // copies
}

// perCopy is what each copy that arrived has taken, in nanoseconds.
func (c copied) perCopy() float64 {
	return float64(c.spent.Nanoseconds()) / float64(c.sent-c.lost)
}

// perFrame is what each frame has taken, in nanoseconds.
func (c copied) perFrame() float64 {
	return float64(c.spent.Nanoseconds()) / float64(c.frames)
}

// checkPatience is how long the copies may take to be right: an agent asks each
// second whether a relay lives.
const checkPatience = time.Minute

// check sees, with a sink that tells them apart, that everyone gets exactly one
// copy of a frame.
func (rep *replicator) check(t target) error {
	frame, err := rep.frame(t)
	if err != nil {
		return err
	}
	detach, err := rep.attachSinks(rep.sinks.SinkApart)
	if err != nil {
		return err
	}
	if err := rep.awaitCopies(frame); err != nil {
		return errors.Join(err, detach())
	}
	return detach()
}

// awaitCopies sends frames until the copies of three in turn are right.
func (rep *replicator) awaitCopies(frame []byte) error {
	before, err := rep.settled()
	if err != nil {
		return err
	}
	// The first frames find out the next hop's MAC, and wait for it.
	var wrong error
	for began, right := time.Now(), 0; right < 3; {
		if wrong != nil && time.Since(began) > checkPatience {
			return wrong
		}
		if err := rep.sender.SendFrame(guestDevice, frame); err != nil {
			return err
		}
		after, err := rep.settled()
		if err != nil {
			return err
		}
		if wrong = rep.exactlyOnce(before, after); wrong == nil {
			right++
		} else {
			right = 0
		}
		before = after
	}
	return nil
}

// exactlyOnce checks that each has got one copy more, or one of each zone that
// has a relay.
func (rep *replicator) exactlyOnce(before, after map[uint32]uint64) error {
	want := rep.copies()
	got := make([]int, len(want))
	for to, n := range after {
		switch n - before[to] {
		case 0:
		case 1:
			got[rep.zoneOf(to)]++
		default:
			return fmt.Errorf("one of the copies arrived %d times", n-before[to])
		}
	}
	for zone := range want {
		if got[zone] != want[zone] && rep.zones > 0 {
			return fmt.Errorf("%d copies left for zone z%d, and %d should have", got[zone], zone, want[zone])
		} else if got[zone] != want[zone] {
			return fmt.Errorf("%d copies arrived of %d", got[zone], want[zone])
		}
	}
	return nil
}

// settled returns how many copies each has got, once no more come.
func (rep *replicator) settled() (map[uint32]uint64, error) {
	var last map[uint32]uint64
	for {
		counts, err := rep.copiesOfEach()
		if err != nil || (last != nil && maps.Equal(counts, last)) {
			return counts, err
		}
		last = counts
		time.Sleep(30 * time.Millisecond)
	}
}

func (rep *replicator) copiesOfEach() (map[uint32]uint64, error) {
	counts := make(map[uint32]uint64)
	var to uint32
	var n uint64
	it := rep.counts.SinkEach.Iterate()
	for it.Next(&to, &n) {
		counts[to] = n
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("reading the sink: %w", err)
	}
	return counts, nil
}

// count attaches the sinks that only count, until the end.
func (rep *replicator) count() error {
	detach, err := rep.attachSinks(rep.sinks.Sink)
	if err == nil {
		rep.close = append(rep.close, detach)
	}
	return err
}

// What ends a packet (linux/pkt_cls.h): dropped, or without its sender knowing.
const (
	tcShot   = 2
	tcStolen = 4
)

// sinkVerdict is how a sink ends a copy.
func (rep *replicator) sinkVerdict() uint32 {
	if rep.zones > 0 {
		return tcStolen
	}
	return tcShot
}

// attachSink puts a sink where copies end: at the far end or, with zones, where
// they leave the host.
func (rep *replicator) attachSink(device string, program *ebpf.Program) (io.Closer, error) {
	if rep.zones > 0 {
		return rep.Hosts[0].AttachEgress(device, program)
	}
	return rep.Hosts[1].AttachIngress(device, program)
}

func (rep *replicator) attachSinks(program *ebpf.Program) (detach func() error, err error) {
	var links []io.Closer
	detach = func() error {
		var errs []error
		for _, l := range links {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}
	for _, device := range rep.sinkDevices() {
		l, err := rep.attachSink(device, program)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sink at %s: %w", device, err), detach())
		}
		links = append(links, l)
	}
	return detach, nil
}

func (rep *replicator) total() (uint64, error) {
	var perCPU []uint64
	if err := rep.counts.SinkTotal.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("reading the sink: %w", err)
	}
	sum := uint64(0)
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// volleyCopies is how many copies may be under way at once: fewer than the
// kernel's queue between two devices has room for (net.core.netdev_max_backlog).
// With zones no copy waits there, but the frames do on their way to the host.
const volleyCopies = 512

// volleys sends frames for a time. What a volley's copies take after its last
// frame has been sent, because the kernel has put them off, belongs to it.
func (rep *replicator) volleys(t target, duration time.Duration) (got copied, err error) {
	frame, err := rep.frame(t)
	if err != nil {
		return got, err
	}
	raw, err := rep.sender.OpenRaw(guestDevice)
	if err != nil {
		return got, err
	}
	defer raw.Close()
	copies := 0
	for _, n := range rep.copies() {
		copies += n
	}
	err = onCPU(0, func() error {
		for got.spent < duration {
			if err := rep.volley(raw, frame, max(1, volleyCopies/copies), copies, &got); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return got, err
	}
	if got.lost == got.sent {
		return got, errors.New("no copy arrived")
	}
	// Over all volleys, since a copy that came too late for one is in the next.
	rep.sent += got.sent
	counted, err := rep.total()
	if err == nil && counted > rep.sent {
		err = fmt.Errorf("%d copies came of %d: some twice, or to the members of a zone whose relay was taken for dead", counted, rep.sent)
	}
	return got, err
}

// volley sends so many frames at once, and adds what became of them.
func (rep *replicator) volley(raw *lab.Raw, frame []byte, frames, copies int, got *copied) error {
	per := uint64(frames * copies)
	before, err := rep.total()
	if err != nil {
		return err
	}
	began := time.Now()
	for range frames {
		if err := raw.Write(frame); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	took := time.Since(began)
	after, err := rep.total()
	for err == nil && after-before < per && time.Since(began) < 100*time.Millisecond {
		after, err = rep.total()
		took = time.Since(began)
	}
	if err != nil {
		return err
	}
	got.spent += took
	got.frames += uint64(frames)
	got.sent += per
	got.lost += per - min(after-before, per)
	return nil
}

// judgeFanout holds the figures for many remotes against the marks. Copies for
// local ports have none: a bridge does for them what we do.
func judgeFanout(r *report, group, name string) {
	var n int
	if _, err := fmt.Sscanf(name, "%d remotes, each copy", &n); err != nil || n < 8 {
		return
	}
	us, kernel := r.find(group, name, "overcast"), r.find(group, name, tuned)
	if us == nil || kernel == nil {
		return
	}
	ratio := us.Median / kernel.Median
	r.judge(group+", "+name, ratio, fmt.Sprintf("%.2fx of the tuned kernel, %d lost", ratio, us.Lost), "0.75x", "0.4x, none lost",
		ratio <= 0.75, ratio <= 0.4 && us.Lost == 0)
}
