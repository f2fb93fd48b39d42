// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"overcast/bpf"
)

// uplink is a device that carries tunnels, and how they are stripped there.
type uplink struct {
	device
	decap  Decap // xdp, tc or kernel: what was chosen, never auto
	reason string
}

// refusal is why a device took no XDP program, and what it was like then.
type refusal struct {
	device device
	why    string
	at     time.Time
}

// refusalLasts is how long a device is believed that has not changed: it may
// have been short of memory or queues.
const refusalLasts = 10 * time.Minute

// refuses tells whether, and why, a device is known to take no XDP program.
func (d *Datapath) refuses(device device) (string, bool) {
	last, ok := d.refused[device.ifindex]
	ok = ok && last.device.mtu == device.mtu && last.device.up == device.up && time.Since(last.at) < refusalLasts
	return last.why, ok
}

// chooseUplinks decides for each uplink how it strips. Whether a driver takes
// XDP shows only when it is tried; attachUplinks comes back if it does not.
func (d *Datapath) chooseUplinks() error {
	var chosen []uplink
	for _, device := range d.uplinkDevices() {
		u := uplink{device: device}
		switch d.opts.Decap {
		case DecapTC, DecapKernel:
			u.decap, u.reason = d.opts.Decap, "configured"
		case DecapXDP:
			if why, no := d.refuses(device); no {
				return fmt.Errorf("decap xdp: uplink %s has no native XDP: %s; set decap to auto or tc", device.name, why)
			}
			u.decap, u.reason = DecapXDP, "configured"
		default:
			u.decap, u.reason = d.chooseDecap(device)
		}
		if u.decap == DecapXDP && len(chosen) >= bpf.MaxXDPUplinks {
			u.decap, u.reason = DecapTC, fmt.Sprintf("at most %d uplinks strip at XDP", bpf.MaxXDPUplinks)
		}
		chosen = append(chosen, u)
	}
	d.uplinks = chosen
	return nil
}

// chooseDecap is `decap: auto` for a device.
func (d *Datapath) chooseDecap(device device) (Decap, string) {
	if !device.ethernet {
		return DecapTC, "no Ethernet header, so the kernel's tunnel device strips"
	}
	// Super-frames would need the tunnel device.
	if device.kind == "veth" && !d.tunnel.absent {
		return DecapTC, "a veth: native XDP would turn off its peer's super-frames"
	}
	if why, no := d.refuses(device); no {
		return DecapTC, "no native XDP: " + why
	}
	return DecapXDP, "the driver has native XDP"
}

// attachUplinks puts the strip programs on the uplinks: the one that delivers
// before the one that strips ahead of it.
func (d *Datapath) attachUplinks() error {
	if d.tunnel.held != nil {
		return nil // our drops would hit the other device's traffic
	}
	var errs []error
	delivers := make(map[uint32]bool)
	for _, u := range d.uplinks {
		if err := d.attach(bpf.UplinkIn, u.ifindex); err != nil {
			errs = append(errs, fmt.Errorf("uplink %s: %w", u.name, err))
			continue
		}
		delivers[u.ifindex] = true
	}
	for _, u := range d.uplinks {
		if u.decap != DecapXDP || !delivers[u.ifindex] {
			continue
		}
		err := d.attach(bpf.UplinkXDP, u.ifindex)
		var stranger *strangerError
		if errors.As(err, &stranger) {
			errs = append(errs, fmt.Errorf("uplink %s: %w", u.name, err))
			continue
		}
		if err != nil {
			why := lastLine(err)
			if d.refused[u.ifindex].why != why {
				d.log.Warn("no native XDP", "uplink", u.name, "error", err)
			}
			d.refused[u.ifindex] = refusal{device: u.device, why: why, at: time.Now()}
			if err := d.chooseUplinks(); err != nil {
				return err
			}
			if err := d.ensurePrograms(); err != nil {
				return err
			}
			if err := d.attachTunnel(); err != nil {
				return err
			}
			return d.attachUplinks()
		}
		errs = append(errs, d.ensureGRO(u))
	}
	return errors.Join(errs...)
}

// ensureGRO switches merging on: the point of stripping at XDP is that GRO
// sees the inner frames, and a veth does not have it on by itself.
func (d *Datapath) ensureGRO(u uplink) error {
	if on, err := groOn(u.name); err != nil || on {
		return err
	}
	if err := d.rememberGRO(u); err != nil {
		return err
	}
	if err := setGRO(u.name, true); err != nil {
		return err
	}
	if on, err := groOn(u.name); err != nil || !on {
		d.log.Warn("GRO is off and cannot be switched on: large transfers will be slower", "uplink", u.name)
	}
	return nil
}

// lastLine is the kernel's own word at the end of a wrapped error.
func lastLine(err error) string {
	text := err.Error()
	return strings.TrimSpace(text[strings.LastIndex(text, ": ")+1:])
}
