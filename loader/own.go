// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"slices"

	"overcast/policy"
)

// hostDevices are the devices that the host itself lives by, and why none of
// them can be a port: a port's frames are the overlay's, and its IPv6 is off.
func (d *Datapath) hostDevices() map[uint32]string {
	own := make(map[uint32]string)
	for _, device := range d.machine.byIndex {
		if device.loopback {
			own[device.ifindex] = "is the loopback device"
		}
	}
	for _, ifindex := range d.machine.holders[d.local()] {
		own[ifindex] = fmt.Sprintf("has this host's tunnel address %s", d.local())
	}
	for _, device := range d.uplinkDevices() {
		own[device.ifindex] = "is this host's uplink"
	}
	var uppers []device
	for ifindex := range own {
		uppers = append(uppers, d.machine.byIndex[ifindex])
	}
	// What they stand on carries their frames.
	for len(uppers) > 0 {
		upper := uppers[0]
		uppers = uppers[1:]
		for _, device := range d.machine.byIndex {
			if _, known := own[device.ifindex]; !known && carries(device, upper) {
				own[device.ifindex] = fmt.Sprintf("carries %s, which %s", upper.name, own[upper.ifindex])
				uppers = append(uppers, device)
			}
		}
	}
	if tunnel, ok := d.machine.byName[TunnelDevice]; ok {
		own[tunnel.ifindex] = "is the overlay's tunnel device"
	}
	return own
}

// carries tells whether an upper device's frames go through another one. A
// guest's device in a bridge of the host's is a neighbour and carries nothing.
func carries(device, upper device) bool {
	if upper.ifindex == 0 {
		return false
	}
	guests := isPair(device.kind) || device.kind == "tuntap"
	return device.ifindex == upper.lower ||
		device.master == upper.ifindex && (upper.kind != "bridge" || !guests)
}

// barredPorts are the ports of a state whose devices are the host's own, each
// with what to say of it.
func (d *Datapath) barredPorts() []string {
	var barred []string
	d.eachPort(func(object string, port *policy.Port) {
		if why, ok := d.own[d.machine.byName[port.Interface].ifindex]; ok {
			barred = append(barred, fmt.Sprintf("port %s: %s %s; want a guest's device", object, port.Interface, why))
		}
	})
	slices.Sort(barred)
	return barred
}

// eachPort calls a function for every port of the state.
func (d *Datapath) eachPort(f func(object string, port *policy.Port)) {
	for i := range d.state.Segments {
		segment := &d.state.Segments[i]
		for j := range segment.Ports {
			f(segment.Object()+"/"+segment.Ports[j].Name, &segment.Ports[j])
		}
	}
}

// checkPorts refuses a state that makes ports of the host's own devices.
func (d *Datapath) checkPorts() error {
	var errs []error
	for _, text := range d.barred {
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}
