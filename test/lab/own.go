// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"net"
	"net/netip"
)

// AddOwnGuest gives the host a port whose guest is the host itself: both ends of
// the pair are in its namespace, and the far one has the addresses.
func (h *Host) AddOwnGuest(port, far, mac string, addresses ...netip.Prefix) error {
	address, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	mtu := h.lab.options.MTU - h.lab.Overhead()
	if err := addPair(end{in: h.Namespace, name: port}, end{in: h.Namespace, name: far, mac: address, mtu: mtu}); err != nil {
		return err
	}
	err = errors.Join(h.noIPv6(port), h.LinkUp(port), h.quietIPv6(far), h.LinkUp(far))
	for _, prefix := range addresses {
		err = errors.Join(err, h.AddAddress(far, prefix))
	}
	return err
}
