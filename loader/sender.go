// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"overcast/policy"
)

// sender sends frames of the agent's own: to guests, out of their ports, and to
// other hosts, in the tunnel. It never waits: the protocols repeat what is lost.
type sender struct {
	ports  int // a packet socket that receives nothing
	hosts  int // a UDP socket; -1: none yet
	local  netip.Addr
	wrap   policy.Encapsulation // of what goes to hosts
	urgent []letter             // probes and answers to them
	queue  []letter             // the rest, to hosts
	lost   uint64               // letters for which there was no room
}

// letter is a frame on its way to another host.
type letter struct {
	to    netip.AddrPort
	vni   uint32
	frame []byte
}

// What thousands of hosts are told in one moment would run over queues on the
// way: so many go each batchInterval, and so many wait at most.
const (
	batchInterval = 10 * time.Millisecond
	batchLetters  = 200
	mostLetters   = 1 << 18
)

// sendBuffer is room for a batch and what waits for neighbours to be resolved,
// in bytes.
const sendBuffer = 4 << 20

func openSender() (*sender, error) {
	// Protocol 0: no frame is ever delivered to it.
	ports, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return &sender{ports: ports, hosts: -1}, nil
}

// toPort sends a frame to the guest behind a port.
func (s *sender) toPort(ifindex uint32, frame []byte) error {
	return unix.Sendto(s.ports, frame, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{Ifindex: int(ifindex)})
}

// from makes an address the source of what goes to other hosts, and wraps it so.
func (s *sender) from(local netip.Addr, wrap policy.Encapsulation) error {
	s.wrap = wrap
	if s.hosts >= 0 && s.local == local {
		return nil
	}
	if s.hosts >= 0 {
		_ = unix.Close(s.hosts)
		s.hosts = -1
	}
	hosts, err := openSocket("messages to other hosts", local, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(hosts, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) // the default is slower
	if err := neverFragment(hosts, local); err != nil {
		_ = unix.Close(hosts)
		return fmt.Errorf("socket for messages to other hosts: %w", err)
	}
	s.hosts, s.local = hosts, local
	return nil
}

// openSocket opens a socket that never waits, for what is sent from an address.
func openSocket(what string, local netip.Addr, kind, protocol int) (int, error) {
	family := unix.AF_INET
	if local.Is6() {
		family = unix.AF_INET6
	}
	socket, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, fmt.Errorf("socket for %s: %w", what, err)
	}
	if err := unix.Bind(socket, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
		_ = unix.Close(socket)
		return -1, fmt.Errorf("socket for %s, from %s: %w", what, local, err)
	}
	return socket, nil
}

// neverFragment has packets go out as they are, whatever the kernel thinks of the
// way: probes are to find that out.
func neverFragment(socket int, local netip.Addr) error {
	if local.Is4() {
		return unix.SetsockoptInt(socket, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
	return errors.Join(
		unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
		unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// The first words of the tunnel headers: VXLAN's says that there is a VNI (RFC
// 7348 5), Geneve's that there are no options, and a frame (RFC 8926 3.4).
const (
	vxlanFlagVNI   = 1 << 27
	geneveEthernet = 0x6558
)

// toHost has a frame sent to another host, under a VNI.
func (s *sender) toHost(vtep netip.AddrPort, vni uint32, frame []byte) {
	if len(s.queue) >= mostLetters {
		s.lost++
		return
	}
	s.queue = append(s.queue, letter{vtep, vni, frame})
}

// toHostFirst is toHost ahead of what waits.
func (s *sender) toHostFirst(vtep netip.AddrPort, vni uint32, frame []byte) {
	if len(s.urgent) >= mostLetters {
		s.lost++
		return
	}
	s.urgent = append(s.urgent, letter{vtep, vni, frame})
}

// post sends some of what waits, and tells whether something still does. The
// error is the last one.
func (s *sender) post() (more bool, err error) {
	for n := 0; n < batchLetters; n++ {
		from := &s.urgent
		if len(*from) == 0 {
			from = &s.queue
		}
		if len(*from) == 0 {
			break
		}
		l := (*from)[0]
		if *from = (*from)[1:]; len(*from) == 0 {
			*from = nil
		}
		if failed := s.sendToHost(l); failed != nil {
			err = failed
		}
	}
	return len(s.urgent)+len(s.queue) > 0, err
}

func (s *sender) sendToHost(l letter) error {
	if s.hosts < 0 {
		return errors.New("no socket for messages to other hosts")
	}
	first := uint32(vxlanFlagVNI)
	if s.wrap == policy.Geneve {
		first = geneveEthernet
	}
	packet := binary.BigEndian.AppendUint32(make([]byte, 0, 8+len(l.frame)), first)
	packet = binary.BigEndian.AppendUint32(packet, l.vni<<8)
	err := unix.Sendto(s.hosts, append(packet, l.frame...), unix.MSG_DONTWAIT, sockaddr(l.to))
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		s.lost++
		return nil
	}
	if err != nil {
		return fmt.Errorf("to %s: %w", l.to, err)
	}
	return nil
}

func (s *sender) close() {
	_ = unix.Close(s.ports)
	if s.hosts >= 0 {
		_ = unix.Close(s.hosts)
	}
}
