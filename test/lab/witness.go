// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Stream is the packets of a source to a group.
type Stream struct {
	Source, Group netip.Addr
}

// Tunnel is the way of a packet from host to host.
type Tunnel struct {
	From, To netip.Addr
	VNI      uint32
}

// Witness counts the packets of senders that a device sees, whether or not a
// socket there wants them. It keeps no frames.
type Witness struct {
	raw *Raw

	mu       sync.Mutex
	received map[Stream]Tally // not in a tunnel, received by the device
	carried  map[carriage]Tally
	failed   error // why it sees nothing more
}

// carriage is a stream in a tunnel.
type carriage struct {
	Stream
	Tunnel
}

// Witness begins to watch a device of the namespace.
func (l *Lab) Witness(n *Namespace, device string) (*Witness, error) {
	raw, err := n.OpenRaw(device)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w := &Witness{raw: raw, received: make(map[Stream]Tally), carried: make(map[carriage]Tally)}
	go w.read()
	l.defers(w.Stop)
	return w, nil
}

func (w *Witness) read() {
	for {
		frame, err := w.raw.Read()
		if errors.Is(err, unix.ENETDOWN) {
			continue // the device went down; it may come up again
		}
		if err != nil {
			w.mu.Lock()
			w.failed = ignoreClosed(err)
			w.mu.Unlock()
			return
		}
		w.see(frame)
	}
}

func (w *Witness) see(frame Frame) {
	if !bytes.Contains(frame.Data, numberMagic) {
		return
	}
	packet := gopacket.NewPacket(frame.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	var outer, inner gopacket.NetworkLayer
	var vni uint32
	for _, layer := range packet.Layers() {
		switch l := layer.(type) {
		case gopacket.NetworkLayer:
			inner = l
		case *layers.VXLAN:
			outer, inner, vni = inner, nil, l.VNI
		}
	}
	app := packet.ApplicationLayer()
	if inner == nil || app == nil {
		return
	}
	number, ok := readNumber(app.LayerContents())
	if !ok {
		return
	}
	stream := Stream{Source: endpointAddr(inner.NetworkFlow().Src()), Group: endpointAddr(inner.NetworkFlow().Dst())}
	w.mu.Lock()
	defer w.mu.Unlock()
	if outer != nil {
		tunnel := Tunnel{From: endpointAddr(outer.NetworkFlow().Src()), To: endpointAddr(outer.NetworkFlow().Dst()), VNI: vni}
		count(w.carried, carriage{stream, tunnel}, number)
	} else if !frame.Outgoing {
		count(w.received, stream, number)
	}
}

func endpointAddr(e gopacket.Endpoint) netip.Addr {
	addr, _ := netip.AddrFromSlice(e.Raw())
	return addr
}

// Received is what has come to the device of a stream, not in a tunnel.
func (w *Witness) Received(s Stream) Tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.received[s])
}

// Copies is how often a packet of a stream has come to the device.
func (w *Witness) Copies(s Stream, number uint64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received[s][number]
}

// Carried is what the device has seen of a stream in tunnels, either way.
func (w *Witness) Carried(s Stream) map[Tunnel]Tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := make(map[Tunnel]Tally)
	for c, tally := range w.carried {
		if c.Stream == s {
			found[c.Tunnel] = maps.Clone(tally)
		}
	}
	return found
}

// Ways are the tunnels that the device has seen a packet in, and how often.
func (w *Witness) Ways(s Stream, number uint64) map[Tunnel]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := make(map[Tunnel]int)
	for c, tally := range w.carried {
		if c.Stream == s && tally[number] > 0 {
			found[c.Tunnel] = tally[number]
		}
	}
	return found
}

// Stop ends the watching. What was counted can still be read. The error tells if
// that is not all that there was to see. It may be called again.
func (w *Witness) Stop() error {
	w.mu.Lock()
	failed := w.failed
	w.mu.Unlock()
	lost, err := w.raw.Lost()
	if lost > 0 {
		failed = errors.Join(failed, fmt.Errorf("witness: %d frames lost", lost))
	}
	return errors.Join(failed, ignoreClosed(err), ignoreClosed(w.raw.Close()))
}
