// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Class is what the cloud made of a frame.
type Class = cloudCloudClass

// The classes. Only the first two pass.
const (
	Passed       = cloudCloudClassCLOUD_PASSED
	Resolved     = cloudCloudClassCLOUD_RESOLVED
	Housekeeping = cloudCloudClassCLOUD_HOUSEKEEPING
	Broadcast    = cloudCloudClassCLOUD_BROADCAST
	Multicast    = cloudCloudClassCLOUD_MULTICAST
	EtherType    = cloudCloudClassCLOUD_ETHERTYPE
	Tagged       = cloudCloudClassCLOUD_TAGGED
	Address      = cloudCloudClassCLOUD_ADDRESS
	FaultLoss    = cloudCloudClassCLOUD_FAULT
)

// forbidden are the classes that a sound host never causes.
var forbidden = []Class{Broadcast, Multicast, EtherType, Tagged, Address}

// Fault is what goes wrong on the wire from a host.
type Fault struct {
	MaxFrame  uint32 // longer frames are lost; bytes with the Ethernet header; 0: none
	LoseEvery uint32 // each n-th IP packet is lost; 0: none
	LosePort  uint16 // datagrams to this UDP port are lost; 0: none
}

// cloud is the switch of the underlay: a bridge whose every door has a program.
type cloud struct {
	*Namespace
	objects cloudObjects
	ports   int
}

const cloudBridge = "cloud"

func newCloud(l *Lab) (*cloud, error) {
	n, err := l.namespace("cloud")
	if err != nil {
		return nil, err
	}
	c := &cloud{Namespace: n}
	if err := loadCloudObjects(&c.objects, nil); err != nil {
		return nil, fmt.Errorf("loading the cloud's program: %w", err)
	}
	l.defers(c.objects.Close)
	err = n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = cloudBridge, l.options.MTU
		off := false
		bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("cloud bridge: %w", err)
		}
		return netlink.LinkSetUp(bridge)
	})
	if err != nil {
		return nil, err
	}
	return c, errors.Join(n.noIPv6(cloudBridge), n.BridgeNetfilterOff())
}

// BridgeNetfilterOff spares bridged frames the way through iptables, which is
// on in every new namespace where br_netfilter is loaded.
func (n *Namespace) BridgeNetfilterOff() error {
	for _, family := range []string{"iptables", "ip6tables", "arptables"} {
		if err := n.Sysctl("net/bridge/bridge-nf-call-"+family, "0"); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// plug joins a host's uplink with the cloud and returns the cloud's end.
func (c *cloud) plug(l *Lab, host *Namespace, uplink string, mtu int) (string, error) {
	c.ports++
	door := "host" + strconv.Itoa(c.ports)
	if err := addPair(end{in: host, name: uplink, mtu: mtu}, end{in: c.Namespace, name: door, mtu: mtu}); err != nil {
		return "", err
	}
	if err := c.noIPv6(door); err != nil {
		return "", err
	}
	err := c.Do(func() error {
		bridge, err := netlink.LinkByName(cloudBridge)
		if err != nil {
			return err
		}
		port, err := netlink.LinkByName(door)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, bridge); err != nil {
			return err
		}
		guard, err := attachIngress(port, c.objects.CloudIn)
		if err != nil {
			return err
		}
		l.defers(guard.Close)
		return netlink.LinkSetUp(port)
	})
	if err != nil {
		return "", fmt.Errorf("door %s of the cloud: %w", door, err)
	}
	return door, nil
}

// attachIngress puts a program at a device's tc ingress, by tcx or, on kernels
// before 6.6, by clsact.
func attachIngress(device netlink.Link, program *ebpf.Program) (io.Closer, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: device.Attrs().Index, Program: program, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	if err := netlink.QdiscAdd(clsact(device)); err != nil {
		return nil, fmt.Errorf("clsact: %w", err)
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: device.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS,
			Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd: program.FD(), Name: "cloud_in", DirectAction: true,
	}
	if err := netlink.FilterAdd(filter); err != nil {
		return nil, fmt.Errorf("clsact filter: %w", err)
	}
	return io.NopCloser(nil), nil // ends with the device
}

// allow lets a host's address onto the underlay.
func (c *cloud) allow(addr netip.Addr) error {
	if err := c.objects.CloudHosts.Put(cloudCloudAddr{B: addr.As16()}, uint32(1)); err != nil {
		return fmt.Errorf("allowing %s: %w", addr, err)
	}
	return nil
}

// Count returns how many frames the cloud put into a class.
func (l *Lab) Count(class Class) (uint64, error) {
	var perCPU []uint64
	if err := l.cloud.objects.CloudCounts.Lookup(class, &perCPU); err != nil {
		return 0, fmt.Errorf("cloud count: %w", err)
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// Forbidden returns how many frames no cloud would have carried, by class. An
// overlay must never cause one.
func (l *Lab) Forbidden() (map[Class]uint64, error) {
	counts := make(map[Class]uint64)
	for _, class := range forbidden {
		n, err := l.Count(class)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			counts[class] = n
		}
	}
	return counts, nil
}

// SetFault makes the wire from a host go wrong; the zero Fault mends it.
func (l *Lab) SetFault(h *Host, fault Fault) error {
	var ifindex uint32
	err := l.cloud.withLink(h.door, func(link netlink.Link) error {
		ifindex = uint32(link.Attrs().Index)
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.cloud.objects.CloudFaults.Put(ifindex, cloudCloudFault{MaxFrame: fault.MaxFrame, LoseEvery: fault.LoseEvery, LosePort: uint32(fault.LosePort)}); err != nil {
		return fmt.Errorf("fault on the wire of %s: %w", h.Name, err)
	}
	return nil
}
