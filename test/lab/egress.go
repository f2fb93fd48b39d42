// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AttachEgress puts a program at a device's tc egress until it is closed. It is
// a filter of clsact: tcx has no verdict that ends a packet without telling its
// sender that it was dropped (TC_ACT_STOLEN).
func (n *Namespace) AttachEgress(device string, program *ebpf.Program) (io.Closer, error) {
	err := n.withLink(device, func(link netlink.Link) error {
		if err := netlink.QdiscAdd(clsact(link)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("clsact: %w", err)
		}
		if err := netlink.FilterAdd(egressFilter(link, program.FD())); err != nil {
			return fmt.Errorf("clsact filter: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &egress{n, device}, nil
}

// egress is a program at a device's egress.
type egress struct {
	in     *Namespace
	device string
}

// Close takes the program away.
func (e *egress) Close() error {
	return e.in.withLink(e.device, func(link netlink.Link) error {
		return netlink.FilterDel(egressFilter(link, -1))
	})
}

func egressFilter(device netlink.Link, fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: device.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS,
			Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd: fd, Name: "lab_out", DirectAction: true,
	}
}

func clsact(device netlink.Link) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: device.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}
