// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"overcast/policy"
)

func TestTunnelDevice(t *testing.T) {
	enterNamespace(t)
	device, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0)
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(TunnelDevice)
	if err != nil {
		t.Fatal(err)
	}
	vxlan := link.(*netlink.Vxlan)
	if vxlan.Flags&unix.IFF_UP != 0 {
		t.Error("it is up before its program is on it")
	}
	if !vxlan.FlowBased || vxlan.Port != 4789 || !vxlan.UDP6ZeroCSumRx || vxlan.PortLow != 49152 || vxlan.PortHigh != 65535 || vxlan.MTU != tunnelMaxMTU {
		t.Errorf("made as %+v", vxlan)
	}
	if err := raiseTunnel(device, 4789); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"disable_ipv6", "addr_gen_mode"} {
		text, err := os.ReadFile("/proc/sys/net/ipv6/conf/oc0/" + setting)
		if err != nil || strings.TrimSpace(string(text)) != "1" {
			t.Errorf("%s is %q, %v", setting, text, err)
		}
	}
	if addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL); err != nil || len(addrs) != 0 {
		t.Errorf("it has addresses: %v, %v", addrs, err)
	}

	// The same port: the same device, left as it is. Another: another one.
	again, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0)
	if err != nil || again.Attrs().Index != link.Attrs().Index || again.Attrs().Flags&1 == 0 {
		t.Errorf("asked again, got %+v, %v", again, err)
	}
	elsewhere := policy.DefaultTunnel(policy.VXLAN)
	elsewhere.Port = 4790
	other, err := ensureTunnel(elsewhere, 0)
	if err != nil || other.Attrs().Index == link.Attrs().Index || other.(*netlink.Vxlan).Port != 4790 {
		t.Errorf("for another port, got %+v, %v", other, err)
	}
}

// A device of ours that somebody made otherwise is made anew; one that is none
// of ours is named and left alone.
func TestTunnelDeviceInTheWay(t *testing.T) {
	enterNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = TunnelDevice
	if err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4789}); err != nil {
		t.Fatal(err)
	}
	device, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0)
	if err != nil || !device.(*netlink.Vxlan).FlowBased {
		t.Errorf("got %+v, %v", device, err)
	}
	if err := netlink.LinkDel(device); err != nil {
		t.Fatal(err)
	}
	other := addDevice(t, TunnelDevice, 1500)
	if _, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0); err == nil || err.Error() != "device oc0 is a veth and not ours: rename or remove it" {
		t.Errorf("got %v", err)
	}
	if left, err := netlink.LinkByName(TunnelDevice); err != nil || left.Attrs().Index != other.Attrs().Index {
		t.Errorf("the other device is gone: %v", err)
	}
}

func TestPortHeld(t *testing.T) {
	enterNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "flannel.1"
	if err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 4789}); err != nil {
		t.Fatal(err)
	}
	holder := linkUp(t, "flannel.1")
	device, err := ensureTunnel(policy.DefaultTunnel(policy.VXLAN), 0)
	if err != nil {
		t.Fatal(err)
	}
	err = raiseTunnel(device, 4789)
	var held *portHeldError
	if !errors.As(err, &held) || err.Error() != "UDP port 4789 is held by the VXLAN device flannel.1: remove it, or choose another tunnel.port on all hosts" {
		t.Errorf("got %v", err)
	}
	if err := netlink.LinkDel(holder); err != nil {
		t.Fatal(err)
	}
	if err := raiseTunnel(device, 4789); err != nil {
		t.Errorf("with the port free again: %v", err)
	}
}
