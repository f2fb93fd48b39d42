// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// requests are round trips of one byte each way.
type requests struct {
	rate          float64 // per second
	p50, p90, p99 float64 // seconds
}

// requestResponse asks and waits for the answer, again and again, with both
// guests, both hosts and the wire on one CPU.
func (p *pair) requestResponse(warm, duration time.Duration) (requests, error) {
	client, server, err := connection(p.from.Namespace, p.to.Namespace, p.target(5100))
	if err != nil {
		return requests{}, err
	}
	defer unix.Close(client)
	defer unix.Close(server)
	for _, fd := range []int{client, server} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return requests{}, err
		}
	}
	answering := make(chan error, 1)
	go func() {
		answering <- onCPU(0, func() error { return answer(server) })
	}()
	var took []time.Duration
	var elapsed time.Duration
	err = onCPU(0, func() error {
		defer unix.Shutdown(client, unix.SHUT_WR) // ends the other side, whatever happens here
		begin := time.Now()
		for time.Since(begin) < warm {
			if _, err := ask(client); err != nil {
				return err
			}
		}
		took = make([]time.Duration, 0, 1<<17)
		begin = time.Now()
		for elapsed < duration {
			one, err := ask(client)
			if err != nil {
				return err
			}
			took = append(took, one)
			elapsed = time.Since(begin)
		}
		return nil
	})
	if err = errors.Join(err, <-answering); err != nil {
		return requests{}, err
	}
	seconds := make([]float64, len(took))
	for i, t := range took {
		seconds[i] = t.Seconds()
	}
	slices.Sort(seconds)
	return requests{
		rate: float64(len(took)) / elapsed.Seconds(),
		p50:  quantile(seconds, 0.5), p90: quantile(seconds, 0.9), p99: quantile(seconds, 0.99),
	}, nil
}

func ask(fd int) (time.Duration, error) {
	var b [1]byte
	start := time.Now()
	if _, err := unix.Write(fd, b[:]); err != nil {
		return 0, fmt.Errorf("asking: %w", err)
	}
	for {
		n, err := unix.Read(fd, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return 0, fmt.Errorf("waiting for the answer: %d bytes, %w", n, err)
		}
		return time.Since(start), nil
	}
}

func answer(fd int) error {
	var b [1]byte
	for {
		n, err := unix.Read(fd, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for a request: %w", err)
		}
		if n == 0 {
			return nil
		}
		if _, err := unix.Write(fd, b[:]); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}
