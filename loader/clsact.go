// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/bpf"
)

// Kernels before 6.6 have no tcx. There the programs are filters of the clsact
// qdisc, which stay by themselves: the filter holds the program, and its name
// says that it is ours.
const (
	clsactPriority = 1
	clsactHandle   = 0x6f63 // "oc"
)

var tcPrograms = []string{bpf.PortIn, bpf.UplinkIn, bpf.TunnelIn}

func clsactAttach(at place, program *ebpf.Program) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: int(at.ifindex),
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding clsact to device %d: %w", at.ifindex, err)
	}
	// Replacing a filter of the same priority and handle is one step for the
	// packets (net/sched/cls_bpf.c, cls_bpf_change).
	if err := netlink.FilterReplace(clsactFilter(at, program.FD())); err != nil {
		return fmt.Errorf("attaching %s to device %d: %w", at.program, at.ifindex, err)
	}
	return nil
}

func clsactFilter(at place, fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: int(at.ifindex),
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    clsactHandle,
			Protocol:  unix.ETH_P_ALL,
			Priority:  clsactPriority,
		},
		Fd:           fd,
		Name:         at.program,
		DirectAction: true,
	}
}

// isOurName tells whether a program has one of our names.
func isOurName(name string) bool {
	return name == bpf.UplinkXDP || slices.Contains(tcPrograms, name)
}

// clsactFilters are the filters of ours on a device, one at most.
func clsactFilters(device netlink.Link) []*netlink.BpfFilter {
	filters, err := netlink.FilterList(device, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil // no qdisc there, or the device has just gone
	}
	var ours []*netlink.BpfFilter
	for _, filter := range filters {
		f, ok := filter.(*netlink.BpfFilter)
		if ok && f.Handle == clsactHandle && slices.Contains(tcPrograms, f.Name) {
			ours = append(ours, f)
		}
	}
	return ours
}

func clsactOccupants(device netlink.Link) []occupant {
	var all []occupant
	for _, f := range clsactFilters(device) {
		all = append(all, occupant{id: ebpf.ProgramID(f.Id)})
	}
	return all
}

// clsactPlaces lists the devices of this namespace that have a filter of ours.
func clsactPlaces() ([]place, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing the devices: %w", err)
	}
	var places []place
	for _, l := range links {
		for _, f := range clsactFilters(l) {
			places = append(places, place{f.Name, uint32(l.Attrs().Index)})
		}
	}
	return places, nil
}

func clsactDetach(at place) error {
	err := netlink.FilterDel(clsactFilter(at, -1))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("detaching %s from device %d: %w", at.program, at.ifindex, err)
	}
	return nil
}
