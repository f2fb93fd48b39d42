// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Flow is a stream of numbered UDP packets from one guest to another.
type Flow struct {
	out, in  *net.UDPConn
	to       *net.UDPAddr
	stop     chan struct{}
	sent     chan uint64
	received chan FlowResult
	count    atomic.Uint64
}

// FlowResult is what became of a flow's packets.
type FlowResult struct {
	Sent       uint64
	Received   uint64 // without duplicates
	Duplicates uint64
	Reordered  uint64   // came after a later one
	Lost       []uint64 // numbers of the lost, at most 20
}

// String sums it up for logs.
func (r FlowResult) String() string {
	return fmt.Sprintf("sent %d, received %d, lost %d %v, duplicated %d, reordered %d",
		r.Sent, r.Received, r.Sent-r.Received, r.Lost, r.Duplicates, r.Reordered)
}

// flowBurst is how many packets are sent at once, each millisecond at most.
// What a busy machine delays is not made up for: a burst could overrun a queue
// and would look like a loss of the overlay.
const flowBurst = 10

// StartFlow begins to send 10,000 packets a second of this many bytes.
func StartFlow(from, to *Guest, address netip.AddrPort, size int) (*Flow, error) {
	f := &Flow{to: net.UDPAddrFromAddrPort(address), stop: make(chan struct{}), sent: make(chan uint64, 1), received: make(chan FlowResult, 1)}
	any := netip.IPv6Unspecified()
	if address.Addr().Is4() {
		any = netip.IPv4Unspecified()
	}
	var err error
	if f.in, err = to.ListenUDP(address); err != nil {
		return nil, fmt.Errorf("receiver of the flow: %w", err)
	}
	if f.out, err = from.ListenUDP(netip.AddrPortFrom(any, 0)); err != nil {
		f.in.Close()
		return nil, fmt.Errorf("sender of the flow: %w", err)
	}
	if err := forceReadBuffer(f.in, 256<<20); err != nil {
		f.in.Close()
		f.out.Close()
		return nil, err
	}
	go f.receive()
	go f.send(make([]byte, max(size, 8)))
	return f, nil
}

// forceReadBuffer sets a socket's buffer beyond the machine's limit.
func forceReadBuffer(conn *net.UDPConn, bytes int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
	})
	return errors.Join(err, failed)
}

func (f *Flow) send(packet []byte) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	number := uint64(0)
	for {
		select {
		case <-f.stop:
			f.sent <- number
			return
		case <-tick.C:
		}
		for range flowBurst {
			binary.BigEndian.PutUint64(packet, number)
			if _, err := f.out.WriteToUDP(packet, f.to); err != nil {
				continue // refused here: not sent
			}
			number++
		}
	}
}

func (f *Flow) receive() {
	var result FlowResult
	var seen []bool
	packet := make([]byte, 65536)
	for {
		n, err := f.in.Read(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil || n < 8 {
			continue
		}
		number := binary.BigEndian.Uint64(packet)
		for uint64(len(seen)) <= number {
			seen = append(seen, false)
		}
		switch {
		case seen[number]:
			result.Duplicates++
			continue
		case number != uint64(len(seen))-1:
			result.Reordered++
		}
		seen[number] = true
		result.Received++
		f.count.Store(result.Received)
	}
	for number, ok := range seen {
		if !ok && len(result.Lost) < 20 {
			result.Lost = append(result.Lost, uint64(number))
		}
	}
	f.received <- result
}

// Received is how many packets have arrived so far.
func (f *Flow) Received() uint64 {
	return f.count.Load()
}

// Stop ends the flow, waits for what is still under way, and counts.
func (f *Flow) Stop() (FlowResult, error) {
	close(f.stop)
	sent := <-f.sent
	// Nothing between the guests holds a packet for longer.
	if err := f.in.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return FlowResult{}, err
	}
	result := <-f.received
	result.Sent = sent
	return result, errors.Join(f.in.Close(), f.out.Close())
}
