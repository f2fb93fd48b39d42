// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"overcast/test/lab"
)

// longTransfer is the cargo sent over one TCP connection, over and over until it is told
// to end.
type longTransfer struct {
	t        *testing.T
	stop     chan struct{}
	sent     chan error
	received chan error
	sentAll  uint64
	arrived  atomic.Uint64 // bytes
}

func startTransfer(t *testing.T, from, to *lab.Guest, address netip.AddrPort) *longTransfer {
	t.Helper()
	listener, err := to.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	out, err := from.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	in, err := listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		out.Close()
		in.Close()
	})
	s := &longTransfer{t: t, stop: make(chan struct{}), sent: make(chan error, 1), received: make(chan error, 1)}
	go func() {
		err := s.send(out)
		s.sent <- errors.Join(err, out.Close())
	}()
	go func() { s.received <- s.receive(in) }()
	return s
}

// haul sends a part of the cargo over a connection of its own.
func haul(t *testing.T, from, to *lab.Guest, address netip.AddrPort) {
	t.Helper()
	s := startTransfer(t, from, to, address)
	s.moves("to " + address.String())
	s.end()
}

// pause lies between the pieces, so that tests beside this one get on too.
const pause = 5 * time.Millisecond

// piece is how much is written and compared at once, in bytes, a part of the cargo.
const piece = 100_000

func (s *longTransfer) send(to io.Writer) error {
	for at := 0; ; at = (at + piece) % len(cargo()) {
		select {
		case <-s.stop:
			return nil
		default:
		}
		if _, err := to.Write(cargo()[at : at+piece]); err != nil {
			return err
		}
		s.sentAll += piece
		time.Sleep(pause)
	}
}

func (s *longTransfer) receive(from io.Reader) error {
	buffer := make([]byte, piece)
	for at := 0; ; at = (at + piece) % len(cargo()) {
		if _, err := io.ReadFull(from, buffer); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if !bytes.Equal(buffer, cargo()[at:at+piece]) {
			return fmt.Errorf("other bytes than were sent, after %d", s.arrived.Load())
		}
		s.arrived.Add(piece)
	}
}

// moves waits until some more has arrived.
func (s *longTransfer) moves(what string) {
	s.t.Helper()
	const more = 3_000_000 // more than waits in buffers
	before := s.arrived.Load()
	for deadline := time.Now().Add(time.Minute); s.arrived.Load() < before+more; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %d bytes arrived of the transfer", what, s.arrived.Load()-before)
		}
	}
}

// end ends it: all that was sent has arrived.
func (s *longTransfer) end() {
	s.t.Helper()
	close(s.stop)
	if err := errors.Join(<-s.sent, <-s.received); err != nil {
		s.t.Fatal(err)
	}
	if s.arrived.Load() != s.sentAll {
		s.t.Errorf("%d bytes of %d have arrived", s.arrived.Load(), s.sentAll)
	}
}
