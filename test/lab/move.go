// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Move takes the guest to another host, behind a device of this name there. Its
// own device stays and sees its cable pulled and put in again, as that of a
// virtual machine does, so its sockets stay in their groups. A tap cannot move.
func (g *Guest) Move(to *Host, port string) error {
	if g.Options.Kind == Tap {
		return fmt.Errorf("guest %s has a tap, which stays on its host: want a veth", g.Name)
	}
	if err := g.owner.LinkDown(g.Port); err != nil {
		return err
	}
	err := g.owner.withLink(g.Port, func(device netlink.Link) error {
		return errors.Join(netlink.LinkSetName(device, port), netlink.LinkSetNsFd(device, int(to.handle)))
	})
	if err != nil {
		return err
	}
	g.host, g.owner, g.Port, g.Options.Port = to, to.Namespace, port, port
	if err := g.owner.withLink(g.Port, detachIngress); err != nil {
		return err
	}
	return errors.Join(g.owner.noIPv6(g.Port), g.owner.LinkUp(g.Port))
}

// detachIngress takes all programs of tcx away from a device's ingress: another
// host's are on no device of this one.
func detachIngress(device netlink.Link) error {
	attached, err := link.QueryPrograms(link.QueryOptions{Target: device.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		return nil // before 6.6 they are clsact's, which does not come along
	}
	if err != nil {
		return fmt.Errorf("programs of %s: %w", device.Attrs().Name, err)
	}
	var errs []error
	for _, program := range attached.Programs {
		id, _ := program.LinkID()
		l, err := link.NewFromID(id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, l.Detach(), l.Close())
	}
	return errors.Join(errs...)
}
