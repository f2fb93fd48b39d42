// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"

	"overcast/test/lab"
)

// openVSwitch is Open vSwitch with its datapath in userspace, the only one that
// a kernel without its module has. It says nothing of its kernel datapath.
const openVSwitch = "Open vSwitch, userspace"

// connectOVS joins the guests by a switch on each host. Its packets come and go
// by packet sockets, so the guests must give it single, finished frames.
func connectOVS(p *pair, _ *options) error {
	for i, h := range p.Hosts {
		if err := p.guest(i).SingleFrames(); err != nil {
			return err
		}
		// All of it on the CPU that the senders are on.
		s, err := p.StartOpenVSwitch(h.Namespace, filepath.Join(h.RunDir, "ovs"), "taskset", "-c", "0")
		if err != nil {
			return err
		}
		if err := configureOVS(s, h, p.guest(i).Port, p.Hosts[1-i].VTEP); err != nil {
			return err
		}
	}
	// Its tunnels learn their next hops from ARP and ND that pass through it.
	for i, h := range p.Hosts {
		if _, err := h.Run(context.Background(), "ping", "-n", "-c", "1", "-W", "5", p.Hosts[1-i].VTEP.String()); err != nil {
			return err
		}
	}
	return nil
}

// configureOVS makes one bridge of the uplink, with the host's address, and one of
// the guest's port and the tunnel.
func configureOVS(s *lab.OpenVSwitch, h *lab.Host, port string, remote netip.Addr) error {
	tunnel := []string{"options:remote_ip=" + remote.String(), fmt.Sprintf("options:key=%d", vni)}
	err := errors.Join(
		s.Configure("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev", "--", "add-port", "br-phy", lab.Uplink),
		s.Configure("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "--", "add-port", "br-int", port),
		s.Configure(append([]string{"add-port", "br-int", "vx0", "--", "set", "interface", "vx0", "type=vxlan"}, tunnel...)...),
	)
	if err != nil {
		return err
	}
	bits := 24
	if h.VTEP.Is6() {
		bits = 64
	}
	prefix := netip.PrefixFrom(h.VTEP, bits)
	return errors.Join(h.RemoveAddress(lab.Uplink, prefix), h.AddAddress("br-phy", prefix), h.LinkUp("br-phy"))
}

// ovsNote tells a reader why there is no Open vSwitch, or what it is.
func ovsNote() string {
	if !lab.HasOpenVSwitch() {
		return "Open vSwitch is not installed on this machine, and so not measured."
	}
	out, err := exec.Command("ovs-vswitchd", "--version").Output()
	version, _, _ := strings.Cut(string(out), "\n")
	if err != nil {
		version = "unknown version"
	}
	return "Open vSwitch runs its userspace datapath over packet sockets (" + version + "), on CPU 0; its guests send single frames with finished checksums. It says nothing of Open vSwitch's kernel datapath or of DPDK."
}
