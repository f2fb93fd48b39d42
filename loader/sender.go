// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// sender sends frames of the agent's own: to guests, out of their ports, and to
// other hosts, in the tunnel.
type sender struct {
	ports int // a packet socket that receives nothing
	hosts *net.UDPConn
	local netip.Addr
	queue []letter // to hosts
}

// letter is a frame on its way to another host.
type letter struct {
	to    netip.AddrPort
	vni   uint32
	frame []byte
}

// What thousands of hosts are told in one moment would run over queues on the
// way: so many go each batchInterval.
const (
	batchInterval = 10 * time.Millisecond
	batchLetters  = 200
)

func openSender() (*sender, error) {
	// Protocol 0: no frame is ever delivered to it.
	ports, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return &sender{ports: ports}, nil
}

// toPort sends a frame to the guest behind a port.
func (s *sender) toPort(ifindex uint32, frame []byte) error {
	if err := unix.Sendto(s.ports, frame, 0, &unix.SockaddrLinklayer{Ifindex: int(ifindex)}); err != nil {
		return fmt.Errorf("sending to the guest behind device %d: %w", ifindex, err)
	}
	return nil
}

// from makes an address the source of what goes to other hosts.
func (s *sender) from(local netip.Addr) error {
	if s.hosts != nil && s.local == local {
		return nil
	}
	if s.hosts != nil {
		s.hosts.Close()
		s.hosts = nil
	}
	hosts, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return fmt.Errorf("socket for messages to other hosts: %w", err)
	}
	s.hosts, s.local = hosts, local
	return nil
}

// vxlanFlagVNI says that the header has a VNI (RFC 7348 5).
const vxlanFlagVNI = 1 << 27

// toHost has a frame sent to another host, as one of a segment.
func (s *sender) toHost(vtep netip.AddrPort, vni uint32, frame []byte) {
	s.queue = append(s.queue, letter{vtep, vni, frame})
}

// post sends some of what waits, and tells whether something still does. The
// error is the last one; what could not be sent is not kept.
func (s *sender) post() (more bool, err error) {
	n := min(len(s.queue), batchLetters)
	for _, l := range s.queue[:n] {
		if failed := s.sendToHost(l.to, l.vni, l.frame); failed != nil {
			err = failed
		}
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return len(s.queue) > 0, err
}

func (s *sender) sendToHost(vtep netip.AddrPort, vni uint32, frame []byte) error {
	if s.hosts == nil {
		return errors.New("no socket for messages to other hosts")
	}
	packet := binary.BigEndian.AppendUint32(make([]byte, 0, 8+len(frame)), vxlanFlagVNI)
	packet = binary.BigEndian.AppendUint32(packet, vni<<8)
	if _, err := s.hosts.WriteToUDPAddrPort(append(packet, frame...), vtep); err != nil {
		return fmt.Errorf("sending to another host: %w", err)
	}
	return nil
}

func (s *sender) close() {
	_ = unix.Close(s.ports)
	if s.hosts != nil {
		s.hosts.Close()
	}
}
