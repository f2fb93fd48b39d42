// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

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

// rememberIPv6 keeps the settings that silence changes, once, and none that it
// finds as it wants them.
func (d *Datapath) rememberIPv6(device netlink.Link) {
	name, ifindex := device.Attrs().Name, uint32(device.Attrs().Index)
	former := d.former[ifindex]
	if former.DisableIPv6 != "" {
		return
	}
	have := readIPv6(name)
	if have.disabled == "" || have.areSilent() {
		return
	}
	former.Interface, former.Ifindex = name, ifindex
	former.DisableIPv6, former.AddrGenMode = have.disabled, have.addrGenMode
	d.former[ifindex] = former
}

func (d *Datapath) rememberGRO(u uplink) error {
	former := d.former[u.ifindex]
	former.Interface, former.Ifindex, former.GROOff = u.name, u.ifindex, true
	d.former[u.ifindex] = former
	return d.keepFormer()
}

// formerPath is the file of what is remembered, which must be on disk before a
// device changes: the report is told only afterwards.
func formerPath(runDir string) string {
	return filepath.Join(runDir, "devices.json")
}

// formerDevices are what is remembered, in the order of the devices.
func (d *Datapath) formerDevices() []DeviceReport {
	devices := slices.Collect(maps.Values(d.former))
	slices.SortFunc(devices, func(a, b DeviceReport) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return devices
}

// keepFormer writes what is remembered, if it is not what the file has.
func (d *Datapath) keepFormer() error {
	devices := d.formerDevices()
	if slices.Equal(devices, d.kept) {
		if _, err := os.Stat(formerPath(d.opts.RunDir)); err == nil || len(devices) == 0 {
			return nil
		}
	}
	text, err := json.Marshal(devices)
	if err == nil {
		err = replaceFile(formerPath(d.opts.RunDir), text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keeping how devices were: %w", err)
	}
	d.kept = devices
	return nil
}

// readFormer reads what is remembered. Earlier versions had it in the report
// alone, which may be nil.
func readFormer(runDir string, report *Report) ([]DeviceReport, error) {
	var devices []DeviceReport
	text, err := os.ReadFile(formerPath(runDir))
	if err == nil {
		if err = json.Unmarshal(text, &devices); err == nil {
			return devices, nil
		}
	}
	if report != nil {
		devices = report.Devices
	}
	if absent(err) != nil {
		return devices, fmt.Errorf("how devices were, %s: %w", formerPath(runDir), err)
	}
	return devices, nil
}

// takeFormer takes over what an earlier run has remembered of the devices that
// are still there.
func (d *Datapath) takeFormer(earlier *Report) error {
	devices, err := readFormer(d.opts.RunDir, earlier)
	if err != nil {
		d.log.Warn("some devices may not be given back as they were", "error", err)
	}
	if len(devices) == 0 {
		return nil
	}
	m, err := readMachine()
	if err != nil {
		return err
	}
	for _, former := range devices {
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
	return errors.Join(append(errs, d.keepFormer())...)
}

// restore makes a device as it was.
func (r DeviceReport) restore() error {
	var errs []error
	write := func(key, value string) {
		if value == "" {
			return
		}
		if err := absent(os.WriteFile(ipv6Setting(r.Interface, key), []byte(value), 0)); err != nil {
			errs = append(errs, fmt.Errorf("restoring %s of %s: %w", key, r.Interface, err))
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

// restoreDevices restores all devices that are remembered and still the same.
func restoreDevices(runDir string) error {
	report, unread := ReadReport(runDir)
	devices, err := readFormer(runDir, report)
	errs := []error{absent(unread), err}
	for _, former := range devices {
		link, err := netlink.LinkByIndex(int(former.Ifindex))
		if err == nil && link.Attrs().Name == former.Interface {
			errs = append(errs, former.restore())
		}
	}
	return errors.Join(errs...)
}
