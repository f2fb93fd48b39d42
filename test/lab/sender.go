// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Sender sends numbered UDP packets to a group, counted from 0.
type Sender struct {
	source netip.Addr

	file    *os.File
	to      unix.Sockaddr
	payload []byte
	next    atomic.Uint64
	stop    chan struct{}
	ended   chan error
}

// OpenSender opens a sender to a group and port from one of the guest's
// addresses. size is that of the payload, in bytes; it is at least what a number
// needs. It ends with the lab.
func (g *Guest) OpenSender(source netip.Addr, to netip.AddrPort, size int) (*Sender, error) {
	index, err := g.LinkIndex(GuestDevice)
	if err != nil {
		return nil, err
	}
	s := &Sender{source: source, payload: make([]byte, max(size, numberSize))}
	err = g.Do(func() error {
		if to.Addr().Is4() {
			return s.open4(int(index), to)
		}
		return s.open6(index, to)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: sender to %s from %s: %w", g.Name, to, source, err)
	}
	g.lab.defers(s.Close)
	return s, nil
}

// senderHops is more than one, as a stream's is that routers may forward.
const senderHops = 8

func (s *Sender) open4(index int, to netip.AddrPort) error {
	fd, err := s.socket(unix.AF_INET)
	if err != nil {
		return err
	}
	s.to = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	return s.check(
		unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, senderHops),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: s.source.As4()}))
}

func (s *Sender) open6(index uint32, to netip.AddrPort) error {
	fd, err := s.socket(unix.AF_INET6)
	if err != nil {
		return err
	}
	s.to = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: index}
	return s.check(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, int(index)),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, senderHops),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		unix.Bind(fd, &unix.SockaddrInet6{Addr: s.source.As16(), ZoneId: index}))
}

func (s *Sender) socket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		s.file = os.NewFile(uintptr(fd), "sender")
	}
	return fd, err
}

func (s *Sender) check(errs ...error) error {
	err := errors.Join(errs...)
	if err != nil {
		s.file.Close()
	}
	return err
}

// Send sends the next packet and returns its number.
func (s *Sender) Send() (uint64, error) {
	number := s.next.Load()
	writeNumber(s.payload, number)
	raw, err := s.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Sendto(int(fd), s.payload, 0, s.to)
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("sending from %s: %w", s.source, err)
	}
	s.next.Store(number + 1)
	return number, nil
}

// Next is the number that the next packet will have.
func (s *Sender) Next() uint64 {
	return s.next.Load()
}

// Start begins to send a packet each interval. What a busy machine delays is
// not made up for.
func (s *Sender) Start(interval time.Duration) {
	s.stop, s.ended = make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				s.ended <- nil
				return
			case <-tick.C:
			}
			if _, err := s.Send(); err != nil {
				s.ended <- err
				return
			}
		}
	}()
}

// Stop ends that, and returns the number that the next packet will have.
func (s *Sender) Stop() (uint64, error) {
	close(s.stop)
	err := <-s.ended
	return s.next.Load(), err
}

// Close closes the socket. It may be called again.
func (s *Sender) Close() error {
	return ignoreClosed(s.file.Close())
}
