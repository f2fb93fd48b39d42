// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sender sends frames of the agent's own: to guests, out of their ports, and to
// other hosts, in the tunnel.
type sender struct {
	ports int // a packet socket that receives nothing
	hosts *net.UDPConn
	local netip.Addr
}

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

// toHost sends a frame to another host, as one of a segment.
func (s *sender) toHost(vtep netip.AddrPort, vni uint32, frame []byte) error {
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
