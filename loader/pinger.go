// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"overcast/loader/membership"
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
func (p *pinger) from(local netip.Addr) (err error) {
	if p.local == local && (p.socket >= 0 || p.failed) {
		return nil
	}
	p.close()
	p.local = local
	protocol := unix.IPPROTO_ICMP
	if local.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	p.socket, err = openSocket("pings", local, unix.SOCK_RAW, protocol)
	p.failed = err != nil
	return err
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
	echo := p.echo()
	for _, host := range hosts {
		_ = unix.Sendto(p.socket, echo, unix.MSG_DONTWAIT, sockaddr(netip.AddrPortFrom(host, 0))) // one without a route
	}
	return answered, nil
}

// echo is a request as the socket takes it. The kernel writes the checksum of
// ICMPv6 itself.
func (p *pinger) echo() []byte {
	echo := make([]byte, icmpHeader)
	binary.BigEndian.PutUint16(echo[4:], p.id)
	if p.local.Is6() {
		echo[0] = icmp6EchoRequest
		return echo
	}
	echo[0] = icmp4EchoRequest
	binary.BigEndian.PutUint16(echo[2:], membership.Checksum(0, echo))
	return echo
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
