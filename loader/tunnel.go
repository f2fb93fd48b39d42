// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TunnelDevice is the name of the kernel's tunnel device, our slow path.
const TunnelDevice = "oc0"

// The range of outer UDP source ports, which carry the inner flows' hashes:
// the dynamic ports, as RFC 7348 section 5 wants it. A hash is masked and added.
const (
	SourcePortMin  = 49152
	SourcePortMask = 16383
)

// vxlanMaxMTU is IP_MAX_MTU less the largest headers, which the kernel allows.
const vxlanMaxMTU = 65465

// tunnelPort is a UDP port that another device holds.
type portHeldError struct {
	port   uint16
	holder string
}

func (e *portHeldError) Error() string {
	return fmt.Sprintf("UDP port %d is held by %s: remove it, or choose another tunnel.port on all hosts", e.port, e.holder)
}

// ensureTunnel makes the tunnel device as it should be, or takes the one that
// is there; known is its ifindex, if that is known, by which one is found that
// somebody has renamed. It returns it down if it is new: the program must be
// on it before anything can arrive.
func ensureTunnel(port uint16, known int) (netlink.Link, error) {
	existing, err := netlink.LinkByName(TunnelDevice)
	if errors.As(err, &netlink.LinkNotFoundError{}) && known != 0 {
		if err := renameBack(port, known); err != nil {
			return nil, err
		}
		existing, err = netlink.LinkByName(TunnelDevice)
	}
	if err == nil {
		if vxlan, ok := existing.(*netlink.Vxlan); ok && vxlan.FlowBased && vxlan.Port == int(port) {
			return existing, nil
		}
		if _, ok := existing.(*netlink.Vxlan); !ok {
			return nil, fmt.Errorf("device %s is a %s and not ours: rename or remove it", TunnelDevice, existing.Type())
		}
		if err := netlink.LinkDel(existing); err != nil {
			return nil, fmt.Errorf("removing the old %s: %w", TunnelDevice, err)
		}
	} else if !errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, fmt.Errorf("tunnel device %s: %w", TunnelDevice, err)
	}

	attrs := netlink.NewLinkAttrs()
	attrs.Name = TunnelDevice
	device := &netlink.Vxlan{
		LinkAttrs: attrs,
		FlowBased: true,
		Port:      int(port),
		PortLow:   SourcePortMin,
		PortHigh:  SourcePortMin + SourcePortMask,
		// Our own packets have no outer checksum; see outer.h.
		UDP6ZeroCSumRx: true,
	}
	if err := netlink.LinkAdd(device); err != nil {
		if errors.Is(err, unix.EEXIST) {
			// One of any VNI on this port is enough, also while it is down.
			return nil, &portHeldError{port: port, holder: portHolder(port)}
		}
		return nil, fmt.Errorf("creating the tunnel device %s: %w", TunnelDevice, err)
	}
	created, err := netlink.LinkByName(TunnelDevice)
	if err != nil {
		return nil, fmt.Errorf("tunnel device %s: %w", TunnelDevice, err)
	}
	if err := silence(created); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetMTU(created, vxlanMaxMTU); err != nil {
		return nil, fmt.Errorf("MTU of %s: %w", TunnelDevice, err)
	}
	return created, nil
}

// renameBack gives the tunnel device its name again, if it is still there. On
// kernels that want it down for that, the caller raises it again.
func renameBack(port uint16, ifindex int) error {
	device, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return nil // it is gone, not renamed
	}
	if vxlan, ok := device.(*netlink.Vxlan); !ok || !vxlan.FlowBased || vxlan.Port != int(port) {
		return nil
	}
	name := device.Attrs().Name
	err = netlink.LinkSetName(device, TunnelDevice)
	if errors.Is(err, unix.EBUSY) {
		if err := netlink.LinkSetDown(device); err != nil {
			return fmt.Errorf("setting %s down: %w", name, err)
		}
		err = netlink.LinkSetName(device, TunnelDevice)
	}
	if err != nil {
		return fmt.Errorf("renaming %s back to %s: %w", name, TunnelDevice, err)
	}
	return nil
}

// raiseTunnel sets the tunnel device up. If another device holds the port, the
// error is a portHeldError that names it.
func raiseTunnel(device netlink.Link, port uint16) error {
	err := netlink.LinkSetUp(device)
	if errors.Is(err, unix.EADDRINUSE) {
		return &portHeldError{port: port, holder: portHolder(port)}
	}
	if err != nil {
		return fmt.Errorf("setting %s up: %w", TunnelDevice, err)
	}
	return nil
}

// portHolder names the tunnel device that has a UDP port open, as far as it
// can be told: other users of a port do not show their names.
func portHolder(port uint16) string {
	links, err := netlink.LinkList()
	if err != nil {
		return "another device"
	}
	for _, l := range links {
		vxlan, ok := l.(*netlink.Vxlan)
		// A flow-based one keeps others from being made also while it is down.
		if ok && vxlan.Port == int(port) && vxlan.Name != TunnelDevice && (vxlan.FlowBased || vxlan.Flags&unix.IFF_UP != 0) {
			return "the VXLAN device " + vxlan.Name
		}
	}
	return "another program or device"
}

// silence keeps the host's own IPv6 off a device that belongs to guests: no
// link-local address, no MLD report, no router solicitation goes out there.
func silence(device netlink.Link) error {
	name := device.Attrs().Name
	have := readIPv6(name)
	// A kernel without IPv6 has nothing to silence. What is so already is not
	// written: every write tells all watchers of links, and we are one.
	if have.addrGenMode != "" && have.addrGenMode != silent.addrGenMode {
		// IN6_ADDR_GEN_MODE_NONE
		if err := netlink.LinkSetIP6AddrGenMode(device, 1); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			return fmt.Errorf("keeping IPv6 addresses off %s: %w", name, err)
		}
	}
	if have.disabled != "" && have.disabled != silent.disabled {
		if err := absent(os.WriteFile(ipv6Setting(name, "disable_ipv6"), []byte(silent.disabled), 0)); err != nil {
			return fmt.Errorf("keeping IPv6 off %s: %w", name, err)
		}
	}
	return nil
}

// ipv6Settings are the settings that silence changes; empty: there are none.
type ipv6Settings struct {
	disabled, addrGenMode string
}

// silent is what silence makes of a device.
var silent = ipv6Settings{disabled: "1", addrGenMode: "1"}

func (s ipv6Settings) areSilent() bool {
	return (s.disabled == "" || s.disabled == silent.disabled) && (s.addrGenMode == "" || s.addrGenMode == silent.addrGenMode)
}

func ipv6Setting(device, key string) string {
	return filepath.Join("/proc/sys/net/ipv6/conf", device, key)
}

func readIPv6(device string) ipv6Settings {
	// A kernel without IPv6 has no such files, nor has a device with an MTU
	// below that of IPv6.
	read := func(key string) string {
		text, _ := os.ReadFile(ipv6Setting(device, key))
		return strings.TrimSpace(string(text))
	}
	return ipv6Settings{disabled: read("disable_ipv6"), addrGenMode: read("addr_gen_mode")}
}
