// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/policy"
)

// TunnelDevice is the name of the kernel's tunnel device, our slow path.
const TunnelDevice = "oc0"

// tunnelMaxMTU is IP_MAX_MTU less the largest headers, which the kernel allows.
const tunnelMaxMTU = 65465

// tunnelPort is a UDP port that another device holds.
type portHeldError struct {
	port   uint16
	holder string
}

func (e *portHeldError) Error() string {
	return fmt.Sprintf("UDP port %d is held by %s: remove it, or choose another tunnel.port on all hosts", e.port, e.holder)
}

// errNoDevice says that the kernel has no device of an encapsulation.
var errNoDevice = errors.New("this kernel has no such device")

// ensureTunnel makes the tunnel device as it should be, or takes the one that
// is there; known is its ifindex, if that is known, by which one is found that
// somebody has renamed. It returns it down if it is new: the program must be
// on it before anything can arrive. The error is errNoDevice where the kernel
// does not know the encapsulation; there is no device of ours then.
func ensureTunnel(t policy.Tunnel, known int) (netlink.Link, error) {
	existing, err := netlink.LinkByName(TunnelDevice)
	if errors.As(err, &netlink.LinkNotFoundError{}) && known != 0 {
		if err := renameBack(t, known); err != nil {
			return nil, err
		}
		existing, err = netlink.LinkByName(TunnelDevice)
	}
	if err == nil {
		if isTunnel(existing, t) {
			return existing, nil
		}
		if !isTunnelKind(existing) {
			return nil, fmt.Errorf("device %s is a %s and not ours: rename or remove it", TunnelDevice, existing.Type())
		}
		if err := netlink.LinkDel(existing); err != nil {
			return nil, fmt.Errorf("removing the old %s: %w", TunnelDevice, err)
		}
	} else if !errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, fmt.Errorf("tunnel device %s: %w", TunnelDevice, err)
	}

	if err := netlink.LinkAdd(newTunnel(t)); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil, errNoDevice
		}
		// One of any VNI on this port is enough, also while it is down. What the
		// kernel says of it depends on the encapsulation.
		if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
			return nil, &portHeldError{port: t.Port, holder: portHolder(t.Port)}
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
	if err := netlink.LinkSetMTU(created, tunnelMaxMTU); err != nil {
		return nil, fmt.Errorf("MTU of %s: %w", TunnelDevice, err)
	}
	return created, nil
}

// isTunnelKind tells whether a device is of any encapsulation that we carry.
func isTunnelKind(device netlink.Link) bool {
	return slices.Contains([]string{"vxlan", "geneve"}, device.Type())
}

// renameBack gives the tunnel device its name again, if it is still there. On
// kernels that want it down for that, the caller raises it again.
func renameBack(t policy.Tunnel, ifindex int) error {
	device, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return nil // it is gone, not renamed
	}
	if !isTunnel(device, t) {
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
