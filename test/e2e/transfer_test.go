// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"overcast/test/lab"
)

// cargo is 100 MB that no checksum could confuse with anything else.
var cargo = sync.OnceValue(func() []byte {
	data := make([]byte, 100_000_000)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(data) // never fails
	return data
})

// transfer sends the cargo from one guest to another over TCP and compares
// every byte that arrives.
func transfer(t *testing.T, from, to *lab.Guest, address netip.AddrPort) {
	t.Helper()
	transferBetween(t, from.Namespace, to.Namespace, address)
}

// transferSome sends a tenth of it, where many tests run beside each other.
func transferSome(t *testing.T, from, to *lab.Guest, address netip.AddrPort) {
	t.Helper()
	transferCargo(t, from.Namespace, to.Namespace, address, cargo()[:len(cargo())/10])
}

func transferBetween(t *testing.T, from, to *lab.Namespace, address netip.AddrPort) {
	t.Helper()
	transferCargo(t, from, to, address, cargo())
}

func transferCargo(t *testing.T, from, to *lab.Namespace, address netip.AddrPort, cargo []byte) {
	t.Helper()
	listener, err := to.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sent := make(chan error, 1)
	go func() {
		conn, err := from.Dial(address)
		if err == nil {
			_, err = conn.Write(cargo)
			conn.Close()
		}
		sent <- err
	}()
	conn, err := listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at, buffer := 0, make([]byte, 1<<20)
	for {
		n, err := conn.Read(buffer)
		if at+n > len(cargo) || !bytes.Equal(buffer[:n], cargo[at:at+n]) {
			t.Fatalf("other bytes than were sent, after byte %d", at)
		}
		at += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if at != len(cargo) {
		t.Fatalf("%d bytes of %d arrived", at, len(cargo))
	}
}

// 100 MB arrive byte for byte in each decap mode, over each kind of wire, with
// each kind of guest, over IPv4 and IPv6 inside and outside; and no packet
// needs an outer fragment or anything that a cloud would not carry.
func TestTransfer(t *testing.T) {
	for _, underlay := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, decap := range []string{"auto", "xdp", "tc", "kernel"} {
			for _, wire := range []lab.Wire{lab.SuperFrames, lab.PlainNIC, lab.NoOffloads} {
				for _, kind := range []lab.Kind{lab.Veth, lab.Tap} {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", underlay, decap, wire, kind), func(t *testing.T) {
						w := newWorld(t, lab.Options{Underlay: underlay, Wire: wire}, lab.GuestOptions{Kind: kind}, "--decap", decap)
						transfer(t, w.guests[0], w.guests[1], netip.MustParseAddrPort("[2001:45::2]:5001"))
						transfer(t, w.guests[1], w.guests[0], netip.MustParseAddrPort("10.9.0.1:5002"))
						w.clean()
						w.noDrops()
					})
				}
			}
		}
	}
}
