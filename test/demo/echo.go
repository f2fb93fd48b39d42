// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// everybody adds two guests under the running agents, then pings the broadcast
// address and all nodes, and wants an answer from every other guest.
func (s *stage) everybody(ctx context.Context) error {
	title("Two guests more, by a change of the document under the running agents")
	for i, name := range []string{"printer", "camera"} {
		mac, ip6, ip4 := fmt.Sprintf("02:00:00:00:00:%02x", 0x0c+i), fmt.Sprintf("2001:45::%d", 6+i), fmt.Sprintf("10.9.0.%d", 3+i)
		if _, err := s.addGuest(i, name, mac, ip6, ip4); err != nil {
			return err
		}
		fmt.Println(s.ports[len(s.ports)-1])
	}
	if err := s.writeDocuments(); err != nil {
		return err
	}
	if err := s.await(ctx, "10.9.0.4"); err != nil {
		return err
	}
	for _, target := range []string{"10.9.0.255", "ff02::1"} {
		title("client pings %s", target)
		answers, err := echo(s.client, target, time.Second)
		if err != nil {
			return err
		}
		for _, from := range slices.SortedFunc(maps.Keys(answers), netip.Addr.Compare) {
			fmt.Printf("answer from %s after %s\n", from, answers[from].Round(time.Microsecond))
		}
		if others := len(s.guests) - 1; len(answers) < others {
			return fmt.Errorf("%d of %d guests answered %s", len(answers), others, target)
		}
	}
	return nil
}

// await pings an address until it answers or the context ends.
func (s *stage) await(ctx context.Context, address string) error {
	for range 100 {
		answers, err := echo(s.client, address, 100*time.Millisecond)
		if err != nil {
			return err
		}
		if len(answers) > 0 || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s does not answer", address)
}

// echo sends one echo request from a guest and gathers who answers, and when.
func echo(g *lab.Guest, target string, wait time.Duration) (map[netip.Addr]time.Duration, error) {
	to := netip.MustParseAddr(target)
	var conn net.PacketConn
	var own []net.Addr
	var device *net.Interface
	err := g.Do(func() error {
		var err error
		if device, err = net.InterfaceByName(lab.GuestDevice); err != nil {
			return err
		}
		if own, err = net.InterfaceAddrs(); err != nil {
			return err
		}
		conn, err = openICMP(to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ping %s: %w", target, err)
	}
	defer conn.Close()
	id := uint16(os.Getpid())
	start := time.Now()
	zone := ""
	if to.Is6() {
		// By number: the name would be looked up in our own namespace.
		zone = strconv.Itoa(device.Index)
	}
	if _, err := conn.WriteTo(request(to, id), &net.IPAddr{IP: to.AsSlice(), Zone: zone}); err != nil && !errors.Is(err, unix.EHOSTUNREACH) {
		return nil, fmt.Errorf("ping %s: %w", target, err)
	}
	if err := conn.SetReadDeadline(start.Add(wait)); err != nil {
		return nil, err
	}
	answers := make(map[netip.Addr]time.Duration)
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(packet)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, nil
		}
		if err != nil {
			continue // an earlier packet's "unreachable"
		}
		addr, ok := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		self := slices.ContainsFunc(own, func(a net.Addr) bool { return a.(*net.IPNet).IP.Equal(addr.AsSlice()) })
		if ok && !self && isReply(to, packet[:n], id) {
			answers[addr.Unmap()] = time.Since(start)
		}
	}
}

func openICMP(to netip.Addr) (net.PacketConn, error) {
	if to.Is6() {
		return net.ListenPacket("ip6:ipv6-icmp", "::")
	}
	conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
	return conn, errors.Join(err, failed)
}

// Types of echo request and reply (RFC 792, RFC 4443).
const (
	request4, reply4 = 8, 0
	request6, reply6 = 128, 129
)

func request(to netip.Addr, id uint16) []byte {
	packet := make([]byte, 16)
	packet[0] = request4
	if to.Is6() {
		packet[0] = request6 // the kernel writes its checksum
	}
	binary.BigEndian.PutUint16(packet[4:], id)
	if to.Is4() {
		var sum uint32
		for i := 0; i < len(packet); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(packet[i:]))
		}
		binary.BigEndian.PutUint16(packet[2:], ^uint16(sum+sum>>16))
	}
	return packet
}

func isReply(to netip.Addr, packet []byte, id uint16) bool {
	want := byte(reply4)
	if to.Is6() {
		want = reply6
	}
	return len(packet) >= 8 && packet[0] == want && binary.BigEndian.Uint16(packet[4:]) == id
}
