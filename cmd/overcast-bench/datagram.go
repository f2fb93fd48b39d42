// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// datagramBytes is the payload of a small datagram.
const datagramBytes = 64

// burst is how many datagrams are sent before they are read, where one thread
// does both: few enough for every queue on the way.
const burst = 32

// datagrams is what became of small datagrams.
type datagrams struct {
	rate       float64 // arrived per second
	sent, lost uint64
}

// perPacket sends small datagrams and reads them on one CPU, and returns the
// processor's time for each that arrived, in seconds: from the sender's system
// call to the receiver's, with both hosts and the wire between.
func (p *pair) perPacket(warm, duration time.Duration) (cost float64, d datagrams, err error) {
	in, out, err := p.datagramSockets(5200)
	if err != nil {
		return 0, d, err
	}
	defer unix.Close(in)
	defer unix.Close(out)
	err = onCPU(0, func() error {
		for begin := time.Now(); time.Since(begin) < warm; {
			if _, err := volley(out, in); err != nil {
				return err
			}
		}
		// A volley that has lost something has waited for it, so its time says
		// nothing of work; its loss is told all the same.
		whole, arrived := time.Duration(0), 0
		for begin := time.Now(); time.Since(begin) < duration; {
			started := time.Now()
			n, err := volley(out, in)
			if err != nil {
				return err
			}
			d.sent += burst
			d.lost += uint64(burst - n)
			if n == burst {
				whole += time.Since(started)
				arrived += n
			}
		}
		if arrived == 0 {
			return errors.New("no burst of datagrams arrived whole")
		}
		d.rate = float64(arrived) / whole.Seconds()
		return nil
	})
	if err != nil {
		return 0, d, err
	}
	return 1 / d.rate, d, nil
}

func (p *pair) datagramSockets(port uint16) (in, out int, err error) {
	if in, err = bound(p.to.Namespace, unix.SOCK_DGRAM, p.target(port)); err != nil {
		return -1, -1, err
	}
	// A reader looks up from time to time, to see whether it is over.
	patience := unix.NsecToTimeval(int64(20 * time.Millisecond))
	if err = unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		unix.Close(in)
		return -1, -1, err
	}
	if out, err = connected(p.from.Namespace, unix.SOCK_DGRAM, p.target(port)); err != nil {
		unix.Close(in)
		return -1, -1, err
	}
	return in, out, nil
}

// volley sends a burst and reads what arrives of it. On one CPU all of it has
// arrived when the last one is sent, unless the kernel has put some off; then
// the reader sleeps, and what still does not come is lost.
func volley(out, in int) (arrived int, err error) {
	var b [datagramBytes]byte
	for range burst {
		if _, err := unix.Write(out, b[:]); err != nil {
			return 0, fmt.Errorf("sending a datagram: %w", err)
		}
	}
	for flags := unix.MSG_DONTWAIT; arrived < burst; {
		_, _, err := unix.Recvfrom(in, b[:], flags)
		switch {
		case err == nil:
			arrived++
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && flags != 0:
			flags = 0
		case errors.Is(err, unix.EAGAIN):
			return arrived, nil
		default:
			return 0, fmt.Errorf("receiving a datagram: %w", err)
		}
	}
	return arrived, nil
}

// flood sends small datagrams as fast as one CPU can, to a reader on another.
func (p *pair) flood(warm, duration time.Duration) (d datagrams, err error) {
	in, out, err := p.datagramSockets(5201)
	if err != nil {
		return d, err
	}
	defer unix.Close(in)
	defer unix.Close(out)
	var arrived atomic.Uint64
	var stop atomic.Bool
	reading := make(chan error, 1)
	go func() {
		reading <- onCPU(1, func() error {
			var b [datagramBytes]byte
			for {
				switch _, err := unix.Read(in, b[:]); {
				case err == nil:
					arrived.Add(1)
				case errors.Is(err, unix.EAGAIN) && stop.Load():
					return nil
				case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
					return fmt.Errorf("receiving a datagram: %w", err)
				}
			}
		})
	}()
	err = onCPU(0, func() error {
		var b [datagramBytes]byte
		count := func(for_ time.Duration) (sent uint64, elapsed time.Duration, err error) {
			begin := time.Now()
			for elapsed < for_ {
				for range burst {
					if _, err := unix.Write(out, b[:]); err != nil {
						return sent, elapsed, fmt.Errorf("sending a datagram: %w", err)
					}
					sent++
				}
				elapsed = time.Since(begin)
			}
			return sent, elapsed, nil
		}
		warmed, _, err := count(warm)
		if err != nil {
			return err
		}
		before := arrived.Load()
		sent, elapsed, err := count(duration)
		d.rate = float64(arrived.Load()-before) / elapsed.Seconds()
		d.sent = warmed + sent
		return err
	})
	stop.Store(true)
	if err = errors.Join(err, <-reading); err != nil {
		return d, err
	}
	d.lost = d.sent - arrived.Load()
	return d, nil
}
