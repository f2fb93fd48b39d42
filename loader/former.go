// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"overcast/bpf"
)

// DeviceReport is how a device was before it became a port or an uplink of
// ours, so that it can be given back like that.
type DeviceReport struct {
	Interface   string `json:"interface"`
	Ifindex     uint32 `json:"ifindex"`
	DisableIPv6 string `json:"disable_ipv6,omitempty"`  // the sysctls; empty: not changed
	AddrGenMode string `json:"addr_gen_mode,omitempty"` // that of IPv6
	GROOff      bool   `json:"gro_off,omitempty"`       // GRO was off
}

func ipv6Setting(device, key string) string {
	return filepath.Join("/proc/sys/net/ipv6/conf", device, key)
}

// rememberIPv6 keeps the settings that silence changes, once.
func (d *Datapath) rememberIPv6(device netlink.Link) {
	name, ifindex := device.Attrs().Name, uint32(device.Attrs().Index)
	former := d.former[ifindex]
	if former.DisableIPv6 != "" {
		return
	}
	// A kernel without IPv6 has no such files, and nothing to restore.
	read := func(key string) string {
		text, _ := os.ReadFile(ipv6Setting(name, key))
		return strings.TrimSpace(string(text))
	}
	former.Interface, former.Ifindex = name, ifindex
	former.DisableIPv6, former.AddrGenMode = read("disable_ipv6"), read("addr_gen_mode")
	d.former[ifindex] = former
}

func (d *Datapath) rememberGRO(u uplink) {
	former := d.former[u.ifindex]
	former.Interface, former.Ifindex, former.GROOff = u.name, u.ifindex, true
	d.former[u.ifindex] = former
}

// takeFormer takes over what an earlier run has remembered of the devices that
// are still there.
func (d *Datapath) takeFormer(earlier *Report) error {
	if earlier == nil || len(earlier.Devices) == 0 {
		return nil
	}
	m, err := readMachine()
	if err != nil {
		return err
	}
	for _, former := range earlier.Devices {
		if m.byIndex[former.Ifindex].name == former.Interface {
			d.former[former.Ifindex] = former
		}
	}
	return nil
}

// giveBack restores devices that are ports or uplinks of ours no more.
func (d *Datapath) giveBack() error {
	var errs []error
	for ifindex, former := range d.former {
		device, there := d.machine.byIndex[ifindex]
		if !there {
			delete(d.former, ifindex)
			continue
		}
		former.Interface = device.name // it may have another by now
		back := former
		if d.isWanted(place{bpf.PortIn, ifindex}) {
			back.DisableIPv6, back.AddrGenMode = "", ""
		}
		if d.isWanted(place{bpf.UplinkXDP, ifindex}) {
			back.GROOff = false
		}
		if err := back.restore(); err != nil {
			errs = append(errs, err)
			continue
		}
		if back.DisableIPv6 != "" {
			former.DisableIPv6, former.AddrGenMode = "", ""
		}
		former.GROOff = former.GROOff && !back.GROOff
		d.former[ifindex] = former
		if former.DisableIPv6 == "" && !former.GROOff {
			delete(d.former, ifindex)
		}
	}
	return errors.Join(errs...)
}

// restore makes a device as it was.
func (r DeviceReport) restore() error {
	var errs []error
	write := func(key, value string) {
		if value == "" {
			return
		}
		if err := os.WriteFile(ipv6Setting(r.Interface, key), []byte(value), 0); err != nil {
			errs = append(errs, fmt.Errorf("restoring %s of %s: %w", key, r.Interface, absent(err)))
		}
	}
	// First how addresses are made, since switching IPv6 on makes one.
	write("addr_gen_mode", r.AddrGenMode)
	write("disable_ipv6", r.DisableIPv6)
	if r.GROOff {
		errs = append(errs, setGRO(r.Interface, false))
	}
	return errors.Join(errs...)
}

// restoreDevices restores all devices of a report that are still the same.
func restoreDevices(runDir string) error {
	report, err := ReadReport(runDir)
	if err != nil {
		return absent(err)
	}
	var errs []error
	for _, former := range report.Devices {
		link, err := netlink.LinkByIndex(int(former.Ifindex))
		if err == nil && link.Attrs().Name == former.Interface {
			errs = append(errs, former.restore())
		}
	}
	return errors.Join(errs...)
}
