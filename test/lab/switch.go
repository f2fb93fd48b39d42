// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Switch is what the kernel has for the overlay's job: a bridge with a VXLAN
// device; or with a Geneve device, which knows one remote and no MACs. A
// bridge's netfilter calls are as the namespace has them; see
// [Namespace.BridgeNetfilterOff].
type Switch struct {
	VNI      uint32
	Local    netip.Addr
	MTU      int                   // of the VXLAN device, in bytes
	Remotes  []netip.Addr          // flooded to (head-end replication)
	Stations map[string]netip.Addr // MACs behind remotes, known from the start
	Learning bool                  // of the VXLAN device, and of the bridge at it
	Snooping bool                  // of the bridge
	Checksum bool                  // of the outer UDP header, over both families
	Geneve   bool                  // to the only one of Remotes
}

const (
	switchBridge = "br0"
	switchTunnel = "vxlan0"
)

// AddSwitch makes a switch in the namespace, whose uplink is [Uplink].
func (n *Namespace) AddSwitch(s Switch) error {
	if err := n.Do(s.add); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return errors.Join(n.noIPv6(switchBridge), n.noIPv6(switchTunnel))
}

func (s Switch) add() error {
	uplink, err := netlink.LinkByName(Uplink)
	if err != nil {
		return fmt.Errorf("device %s: %w", Uplink, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = switchBridge
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &s.Snooping}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if s.Geneve {
		geneve, err := s.addGeneve()
		if err != nil {
			return fmt.Errorf("making the Geneve device: %w", err)
		}
		return errors.Join(netlink.LinkSetMaster(geneve, bridge), netlink.LinkSetUp(bridge), netlink.LinkSetUp(geneve))
	}
	vxlan, err := s.addVXLAN(uplink)
	if err != nil {
		return fmt.Errorf("VXLAN device: %w", err)
	}
	if err := netlink.LinkSetMaster(vxlan, bridge); err != nil {
		return err
	}
	if !s.Learning {
		if err := netlink.LinkSetLearning(vxlan, false); err != nil {
			return fmt.Errorf("VXLAN device: learning off: %w", err)
		}
	}
	for _, remote := range s.Remotes {
		if err := addFlood(vxlan, remote); err != nil {
			return err
		}
	}
	for station, remote := range s.Stations {
		if err := addStation(vxlan, station, remote); err != nil {
			return fmt.Errorf("station %s: %w", station, err)
		}
	}
	return errors.Join(netlink.LinkSetUp(bridge), netlink.LinkSetUp(vxlan))
}

// addFlood adds a remote to those that the VXLAN device floods to.
func addFlood(vxlan netlink.Link, remote netip.Addr) error {
	flood := &netlink.Neigh{
		LinkIndex: vxlan.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		IP: remote.AsSlice(), HardwareAddr: make(net.HardwareAddr, 6),
	}
	if err := netlink.NeighAppend(flood); err != nil {
		return fmt.Errorf("flood entry for %s: %w", remote, err)
	}
	return nil
}

// FloodTo makes the namespace's switch flood to one more remote.
func (n *Namespace) FloodTo(remote netip.Addr) error {
	return n.withLink(switchTunnel, func(vxlan netlink.Link) error { return addFlood(vxlan, remote) })
}

// addStation tells the VXLAN device the remote of a MAC, and the bridge that it
// is behind the VXLAN device.
func addStation(vxlan netlink.Link, station string, remote netip.Addr) error {
	mac, err := net.ParseMAC(station)
	if err != nil {
		return err
	}
	entry := netlink.Neigh{LinkIndex: vxlan.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		IP: remote.AsSlice(), HardwareAddr: mac}
	if err := netlink.NeighAppend(&entry); err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: vxlan.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
		State: netlink.NUD_NOARP, HardwareAddr: mac})
}

// addTunnel makes a tunnel device with attributes that the library leaves out.
func (s Switch) addTunnel(kind string, describe func(data *nl.RtAttr)) (netlink.Link, error) {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(switchTunnel)))
	request.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.MTU))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	describe(info.AddRtAttr(nl.IFLA_INFO_DATA, nil))
	request.AddData(info)
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return nil, err
	}
	return netlink.LinkByName(switchTunnel)
}

// addGeneve makes the Geneve device.
func (s Switch) addGeneve() (netlink.Link, error) {
	return s.addTunnel("geneve", func(data *nl.RtAttr) {
		data.AddRtAttr(nl.IFLA_GENEVE_ID, nl.Uint32Attr(s.VNI))
		remote := nl.IFLA_GENEVE_REMOTE
		if s.Local.Is6() {
			remote = nl.IFLA_GENEVE_REMOTE6
		}
		data.AddRtAttr(remote, s.Remotes[0].AsSlice())
		data.AddRtAttr(nl.IFLA_GENEVE_PORT, binary.BigEndian.AppendUint16(nil, 6081))
		data.AddRtAttr(nl.IFLA_GENEVE_UDP_CSUM, flag(s.Checksum))
		data.AddRtAttr(nl.IFLA_GENEVE_UDP_ZERO_CSUM6_TX, flag(!s.Checksum))
		data.AddRtAttr(nl.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, flag(true))
	})
}

// addVXLAN makes the VXLAN device. The library leaves the checksum over IPv4
// out where it is off, and the kernel then has it on.
func (s Switch) addVXLAN(uplink netlink.Link) (netlink.Link, error) {
	link, err := s.addTunnel("vxlan", func(data *nl.RtAttr) {
		data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(s.VNI))
		data.AddRtAttr(nl.IFLA_VXLAN_LINK, nl.Uint32Attr(uint32(uplink.Attrs().Index)))
		local := nl.IFLA_VXLAN_LOCAL
		if s.Local.Is6() {
			local = nl.IFLA_VXLAN_LOCAL6
		}
		data.AddRtAttr(local, s.Local.AsSlice())
		data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, 4789))
		data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, flag(s.Learning))
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_CSUM, flag(s.Checksum))
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_ZERO_CSUM6_TX, flag(!s.Checksum))
		// Our packets have none over IPv6 (RFC 6935).
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, flag(true))
	})
	if err != nil {
		return nil, err
	}
	made, ok := link.(*netlink.Vxlan)
	if !ok || made.UDPCSum != s.Checksum || made.UDP6ZeroCSumTx == s.Checksum || made.Learning != s.Learning {
		return nil, fmt.Errorf("the kernel made it otherwise: %+v", link)
	}
	return link, nil
}

func flag(on bool) []byte {
	if on {
		return nl.Uint8Attr(1)
	}
	return nl.Uint8Attr(0)
}

// PlugIntoSwitch makes a device a port of the namespace's switch. Where its
// stations are named, the port does not learn.
func (n *Namespace) PlugIntoSwitch(device string, stations ...string) error {
	return n.withLink(device, func(link netlink.Link) error {
		bridge, err := netlink.LinkByName(switchBridge)
		if err != nil {
			return fmt.Errorf("the switch's bridge: %w", err)
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil || len(stations) == 0 {
			return err
		}
		if err := netlink.LinkSetLearning(link, false); err != nil {
			return fmt.Errorf("learning off: %w", err)
		}
		for _, station := range stations {
			mac, err := net.ParseMAC(station)
			if err != nil {
				return err
			}
			if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
				State: netlink.NUD_NOARP, HardwareAddr: mac}); err != nil {
				return fmt.Errorf("station %s: %w", station, err)
			}
		}
		return nil
	})
}
