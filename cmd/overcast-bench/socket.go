// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// socketBuffer holds what a burst may leave waiting, in bytes.
const socketBuffer = 32 << 20

// congestion is the congestion control of all connections. One that paces,
// such as BBR, would wait for timers where the figures are about work.
const congestion = "cubic"

// patience is how long a connection may stand still.
const patience = 5 * time.Second

func sockaddr(a netip.AddrPort) (int, unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// socket opens a blocking socket of a namespace and prepares it there. The
// runtime's poller has no part in it, so a thread that is pinned to a CPU waits
// and works on that CPU.
func socket(n *lab.Namespace, family, kind int, prepare func(fd int) error) (int, error) {
	fd := -1
	err := n.Do(func() error {
		var err error
		if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := prepare(fd); err != nil {
			unix.Close(fd)
			return err
		}
		return nil
	})
	return fd, err
}

// bound opens a socket that is bound to an address of a namespace.
func bound(n *lab.Namespace, kind int, at netip.AddrPort) (int, error) {
	family, address := sockaddr(at)
	fd, err := socket(n, family, kind, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		if kind == unix.SOCK_DGRAM {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer); err != nil {
				return err
			}
		}
		if err := unix.Bind(fd, address); err != nil {
			return err
		}
		if kind == unix.SOCK_STREAM {
			return unix.Listen(fd, 64)
		}
		return nil
	})
	if err != nil {
		return -1, fmt.Errorf("socket at %s: %w", at, err)
	}
	return fd, nil
}

// connected opens a socket of a namespace that is connected to an address. A
// connection that takes longer than it may is an error and not a wait.
func connected(n *lab.Namespace, kind int, to netip.AddrPort) (int, error) {
	family, address := sockaddr(to)
	fd, err := socket(n, family, kind, func(fd int) error {
		limit := unix.NsecToTimeval(int64(patience))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
			return err
		}
		if kind == unix.SOCK_STREAM {
			if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion); err != nil {
				return fmt.Errorf("congestion control %s: %w", congestion, err)
			}
		}
		return unix.Connect(fd, address)
	})
	if err != nil {
		return -1, fmt.Errorf("connecting to %s: %w", to, err)
	}
	return fd, nil
}

// connection opens a TCP connection between two namespaces and returns both
// ends of it.
func connection(from, to *lab.Namespace, at netip.AddrPort) (client, server int, err error) {
	listener, err := bound(to, unix.SOCK_STREAM, at)
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(listener)
	// Accepted connections have the listener's.
	if err := unix.SetsockoptString(listener, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion); err != nil {
		return -1, -1, fmt.Errorf("congestion control %s: %w", congestion, err)
	}
	if client, err = connected(from, unix.SOCK_STREAM, at); err != nil {
		return -1, -1, err
	}
	if server, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
		unix.Close(client)
		return -1, -1, fmt.Errorf("accepting at %s: %w", at, err)
	}
	// A way that dies is an error, and not a wait without end.
	limit := unix.NsecToTimeval(int64(patience))
	for _, fd := range []int{client, server} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			unix.Close(client)
			unix.Close(server)
			return -1, -1, err
		}
	}
	return client, server, nil
}
