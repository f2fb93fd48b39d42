// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// AddMachineTap gives the host a tap that waits for a virtual machine's device
// model, with virtio's headers, as managers of virtual machines make it.
func (h *Host) AddMachineTap(name string) error {
	err := h.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP,
			Flags: netlink.TUNTAP_ONE_QUEUE | netlink.TUNTAP_VNET_HDR}
		if err := netlink.LinkAdd(tap); err != nil {
			return fmt.Errorf("tap %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(h.noIPv6(name), h.LinkUp(name))
}
