// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Dial connects from inside the namespace, as net.Dialer does. The address must
// be an IP address and a port: names are resolved outside.
func (n *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dialing from %s: %w: give an IP address and a port", n.Name, err)
	}
	var dialer net.Dialer
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dialing from %s: %w", n.Name, err)
	}
	return conn, nil
}

// Listen accepts connections inside the namespace, as net.ListenConfig does.
func (n *Namespace) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // Go's default would put MPTCP under a measurement of TCP
	var listener net.Listener
	err := n.Do(func() (err error) {
		listener, err = config.Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening in %s: %w", n.Name, err)
	}
	return listener, nil
}

// ListenPacket opens a packet socket inside the namespace, as net.ListenConfig
// does.
func (n *Namespace) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var config net.ListenConfig
	var conn net.PacketConn
	err := n.Do(func() (err error) {
		conn, err = config.ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening in %s: %w", n.Name, err)
	}
	return conn, nil
}
