// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"slices"
	"strings"

	"overcast/policy"
)

// RefusalError says that a state was not taken, as it cannot be on this host.
// Any other error of Apply is the machine's, and the state is in force as far
// as that allows.
type RefusalError struct {
	err error
}

func (e *RefusalError) Error() string {
	return e.err.Error()
}

func (e *RefusalError) Unwrap() error {
	return e.err
}

// check refuses what does not depend on the machine's devices.
func (d *Datapath) check(state *policy.State) error {
	if d.opts.Decap == DecapKernel && state.Tunnel.Encapsulation != policy.VXLAN && !knowsTunnel(state.Tunnel) {
		return fmt.Errorf("decap kernel: %s: set decap to auto, or tunnel.encapsulation to vxlan for all hosts", noDevice(state.Tunnel.Encapsulation))
	}
	vtep, underlay := state.Host.VTEP, d.opts.Underlay
	if underlay.IsValid() && underlay.Is4() != vtep.Is4() {
		return fmt.Errorf("underlay %s: the vtep of host %s is %s, of the other family; want this machine's address behind it", underlay, state.Host.Name, vtep)
	}
	return nil
}

// findings are what the machine lacks, of what the state and the options need.
// None of it stops the rest, and all of it may come later.
func (d *Datapath) findings() []string {
	all := slices.Clone(d.barred)
	if d.tunnel.absent {
		all = append(all, fmt.Sprintf("%s: tagged frames, guests' own tunnels in super-frames, fragments and whatever else needs it are dropped as DROP_DEVICE_MISSING; load the kernel's %s module if there is one", noDevice(d.state.Tunnel.Encapsulation), d.state.Tunnel.Encapsulation))
	}
	if d.groups.full != "" {
		all = append(all, "multicast: "+d.groups.full)
	}
	if !d.groups.events.reads() {
		all = append(all, "multicast: membership messages cannot be read, so all groups are flooded")
	}
	if len(d.machine.holders[d.local()]) == 0 {
		all = append(all, fmt.Sprintf("no device has this host's tunnel address %s: add it, or set underlay to the address that the other hosts' packets for it arrive at", d.local()))
	}
	for _, name := range d.opts.Uplinks {
		if _, ok := d.machine.byName[name]; !ok {
			all = append(all, fmt.Sprintf("uplink %s: there is no such device", name))
		}
	}
	return all
}

// Problems are what is not as the state wants it, each in a line; none if all
// is in force.
func (d *Datapath) Problems() []string {
	if d.state == nil || d.machine == nil {
		return nil
	}
	all := d.findings()
	if d.contents != nil {
		all = append(all, d.contents.Problems...)
	}
	return slices.Concat(all, d.failures)
}

// noteFailure keeps what the machine refused until the next try.
func (d *Datapath) noteFailure(err error) error {
	d.failures = nil
	if err != nil {
		d.failures = strings.Split(err.Error(), "\n")
	}
	return err
}
