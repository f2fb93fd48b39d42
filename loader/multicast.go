// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"time"
)

// Events are the frames that the programs hand to the agent. Each is for Take.
func (d *Datapath) Events() <-chan Event {
	return d.groups.events.C
}

// Due tells when Tick has something to do.
func (d *Datapath) Due() <-chan time.Time {
	return d.groups.timer.C
}

// Take takes a frame, and with it those that wait behind it, since the answers
// to a query come all at once: what they change is written once.
func (d *Datapath) Take(e Event) error {
	if d.contents == nil {
		return nil
	}
	now := time.Now()
	changed := d.groups.receive(now, e)
	changed = d.groups.drain(now) || changed
	err := errors.Join(d.groups.flush(now), d.groups.begin(now))
	if changed {
		err = errors.Join(err, d.Refresh())
	}
	return err
}

// Tick does what the protocols of group membership have to do by now.
func (d *Datapath) Tick() error {
	if d.contents == nil {
		return nil
	}
	now := time.Now()
	changed := d.groups.drain(now)
	also, err := d.groups.tick(now)
	if changed || also {
		err = errors.Join(err, d.Refresh())
	}
	return err
}

// Groups tells who wants which groups.
func (d *Datapath) Groups() *GroupsReport {
	return d.groups.report(time.Now())
}

// GroupsVersion is another number when Groups may tell something else.
func (d *Datapath) GroupsVersion() uint64 {
	return d.groups.version
}

// LivenessVersion is another number when a host that is probed has come to life
// or died since, or another size gets there, of which Report tells.
func (d *Datapath) LivenessVersion() uint64 {
	return d.groups.live.turns + d.groups.paths.turns
}
