// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"net/netip"
)

// Listen opens a TCP socket of the namespace.
func (n *Namespace) Listen(address netip.AddrPort) (*net.TCPListener, error) {
	var l *net.TCPListener
	err := n.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
		return err
	})
	return l, err
}

// Dial connects a TCP socket of the namespace.
func (n *Namespace) Dial(address netip.AddrPort) (*net.TCPConn, error) {
	var c *net.TCPConn
	err := n.Do(func() (err error) {
		c, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(address))
		return err
	})
	return c, err
}

// ListenUDP opens a UDP socket of the namespace. It may send anywhere.
func (n *Namespace) ListenUDP(address netip.AddrPort) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := n.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
		return err
	})
	return c, err
}
