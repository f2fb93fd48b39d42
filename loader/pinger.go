// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pinger sends ICMP echo requests (RFC 792, RFC 4443 4.1) to hosts that answer no
// probes, to tell a host that is down from a tunnel port that is eaten on the way.
type pinger struct {
	socket int // raw; -1: none
	local  netip.Addr
	id     uint16
	sent   time.Time
	failed bool // a socket could not be had for .local
}

// pingInterval is how often silent hosts are pinged.
const pingInterval = 2 * time.Second

// Echo's types.
const (
	icmp4EchoRequest, icmp4EchoReply = 8, 0
	icmp6EchoRequest, icmp6EchoReply = 128, 129
)

func newPinger() *pinger {
	return &pinger{socket: -1, id: uint16(os.Getpid())}
}

// from makes an address the source of the pings.
func (p *pinger) from(local netip.Addr) error {
	if p.local == local && (p.socket >= 0 || p.failed) {
		return nil
	}
	p.close()
	p.local, p.failed = local, true
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if local.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	socket, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return fmt.Errorf("socket for pings: %w", err)
	}
	if err := unix.Bind(socket, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
		_ = unix.Close(socket)
		return fmt.Errorf("socket for pings, from %s: %w", local, err)
	}
	p.socket, p.failed = socket, false
	return nil
}

// ping asks these hosts, if it is time to, and returns those that have answered
// since the last call. What the host is sent otherwise waits in the socket, so it
// is opened when it is needed.
func (p *pinger) ping(now time.Time, local netip.Addr, hosts []netip.Addr) (answered []netip.Addr, err error) {
	if len(hosts) == 0 {
		p.close()
		return nil, nil
	}
	if err := p.from(local); err != nil || p.socket < 0 {
		return nil, err
	}
	answered = p.answers()
	if now.Sub(p.sent) < pingInterval {
		return answered, nil
	}
	p.sent = now
	echo := make([]byte, icmpHeader)
	echo[0] = icmp4EchoRequest
	if local.Is6() {
		echo[0] = icmp6EchoRequest
	}
	binary.BigEndian.PutUint16(echo[4:], p.id)
	if !local.Is6() { // the kernel writes that of ICMPv6
		binary.BigEndian.PutUint16(echo[2:], ^(uint16(icmp4EchoRequest)<<8 + p.id))
	}
	for _, host := range hosts {
		_ = unix.Sendto(p.socket, echo, unix.MSG_DONTWAIT, sockaddr(netip.AddrPortFrom(host, 0))) // one without a route
	}
	return answered, nil
}

// answers reads what has come.
func (p *pinger) answers() (answered []netip.Addr) {
	buffer := make([]byte, 128)
	for range 1024 {
		n, from, err := unix.Recvfrom(p.socket, buffer, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		packet, kind := buffer[:n], byte(icmp6EchoReply)
		addr, ok := from.(*unix.SockaddrInet6)
		host := netip.Addr{}
		if ok {
			host = netip.AddrFrom16(addr.Addr)
		} else if addr, ok := from.(*unix.SockaddrInet4); ok && n > 0 {
			// With its IP header.
			host, kind = netip.AddrFrom4(addr.Addr), icmp4EchoReply
			packet = packet[min(int(packet[0]&0xf)*4, n):]
		}
		if len(packet) >= icmpHeader && packet[0] == kind && binary.BigEndian.Uint16(packet[4:]) == p.id {
			answered = append(answered, host)
		}
	}
	return answered
}

func (p *pinger) close() {
	if p.socket >= 0 {
		_ = unix.Close(p.socket)
	}
	p.socket, p.failed = -1, false
}
