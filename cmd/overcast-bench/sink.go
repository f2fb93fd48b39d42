// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"overcast/test/lab"
)

// copied is what became of copies.
type copied struct {
	sent, lost uint64
}

// check sees, with a sink that tells them apart, that everyone gets exactly one
// copy of a frame.
func (rep *replicator) check(t target) error {
	frame, err := rep.frame(t)
	if err != nil {
		return err
	}
	sinks, err := rep.attachSinks(func(n *lab.Namespace, device string) (io.Closer, error) {
		return n.AttachIngress(device, rep.sinks.SinkApart)
	})
	if err != nil {
		return err
	}
	defer sinks()
	before, err := rep.settled()
	if err != nil {
		return err
	}
	// The first frames find out the next hop's MAC, and wait for it.
	const tries, inTurn = 30, 3
	var wrong error
	for try, right := 0, 0; right < inTurn; try++ {
		if try == tries {
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

// exactlyOnce checks that each has got one copy more.
func (rep *replicator) exactlyOnce(before, after map[uint32]uint64) error {
	got := 0
	for to, n := range after {
		switch n - before[to] {
		case 0:
		case 1:
			got++
		default:
			return fmt.Errorf("one of the copies arrived %d times", n-before[to])
		}
	}
	if got != rep.copies() {
		return fmt.Errorf("%d copies arrived of %d", got, rep.copies())
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
	detach, err := rep.attachSinks(func(n *lab.Namespace, device string) (io.Closer, error) {
		return n.AttachIngress(device, rep.sinks.Sink)
	})
	if err == nil {
		rep.close = append(rep.close, detach)
	}
	return err
}

func (rep *replicator) attachSinks(attach func(*lab.Namespace, string) (io.Closer, error)) (detach func() error, err error) {
	var links []io.Closer
	detach = func() error {
		var errs []error
		for _, l := range links {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}
	for _, device := range rep.sinkDevices() {
		l, err := attach(rep.Hosts[1].Namespace, device)
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
const volleyCopies = 512

// volleys sends frames for a time and returns what each copy takes, in
// nanoseconds. What a volley's copies take after its last frame has been sent,
// because the kernel has put them off, belongs to it.
func (rep *replicator) volleys(t target, duration time.Duration) (cost float64, got copied, err error) {
	frame, err := rep.frame(t)
	if err != nil {
		return 0, got, err
	}
	raw, err := rep.sender.OpenRaw(guestDevice)
	if err != nil {
		return 0, got, err
	}
	defer raw.Close()
	frames := max(1, volleyCopies/rep.copies())
	per := uint64(frames * rep.copies())
	var spent time.Duration
	err = onCPU(0, func() error {
		for spent < duration {
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
			for waited := began; err == nil && after-before < per && time.Since(waited) < 100*time.Millisecond; {
				after, err = rep.total()
				took = time.Since(began)
			}
			if err != nil {
				return err
			}
			spent += took
			got.sent += per
			got.lost += per - min(after-before, per)
		}
		return nil
	})
	if err != nil {
		return 0, got, err
	}
	if got.lost == got.sent {
		return 0, got, errors.New("no copy arrived")
	}
	return float64(spent.Nanoseconds()) / float64(got.sent-got.lost), got, nil
}

// judgeFanout holds the figures for many remotes against the marks. Copies for
// local ports have none: a bridge does for them what we do.
func judgeFanout(r *report, group, name string) {
	var n int
	if _, err := fmt.Sscanf(name, "%d remotes", &n); err != nil || n < 8 {
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
