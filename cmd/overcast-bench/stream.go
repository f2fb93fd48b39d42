// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// received is what a guest's device was given during a measurement.
type received struct {
	frameBytes float64 // mean size
	dropped    uint64
}

// stream sends over TCP connections as fast as it goes, from one CPU to
// another, and returns the rate at the receiver in bits per second.
func (p *pair) stream(flows int, warm, duration time.Duration) (rate float64, got received, err error) {
	var sockets []int
	defer func() {
		for _, fd := range sockets {
			unix.Close(fd)
		}
	}()
	var arrived atomic.Int64
	var stop atomic.Bool
	var wait sync.WaitGroup
	errs := make(chan error, 2*flows)
	for i := range flows {
		client, server, err := connection(p.from.Namespace, p.to.Namespace, p.target(uint16(5001+i)))
		if err != nil {
			return 0, got, err
		}
		sockets = append(sockets, client, server)
	}
	for i := range flows {
		client, server := sockets[2*i], sockets[2*i+1]
		wait.Go(func() {
			errs <- onCPU(0, func() error { return pour(client, &stop) })
		})
		wait.Go(func() {
			errs <- onCPU(1, func() error { return drain(server, &arrived) })
		})
	}
	time.Sleep(warm)
	before, err := p.to.Received(guestDevice)
	start, bytes := time.Now(), arrived.Load()
	time.Sleep(duration)
	elapsed, bytes := time.Since(start), arrived.Load()-bytes
	after, err2 := p.to.Received(guestDevice)
	stop.Store(true)
	wait.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	if err = errors.Join(err, err2); err != nil {
		return 0, got, err
	}
	if frames := after.Frames - before.Frames; frames > 0 {
		got.frameBytes = float64(after.Bytes-before.Bytes) / float64(frames)
	}
	got.dropped = after.Dropped - before.Dropped
	return float64(bytes) * 8 / elapsed.Seconds(), got, nil
}

// pour writes until it is told to stop, and then ends the connection's half.
func pour(fd int, stop *atomic.Bool) error {
	buffer := make([]byte, 128<<10)
	for !stop.Load() {
		if _, err := unix.Write(fd, buffer); err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("sending: %w", err)
		}
	}
	return unix.Shutdown(fd, unix.SHUT_WR)
}

// drain reads to the end.
func drain(fd int, arrived *atomic.Int64) error {
	buffer := make([]byte, 128<<10)
	for {
		n, err := unix.Read(fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receiving: %w", err)
		case n == 0:
			return nil
		}
		arrived.Add(int64(n))
	}
}
