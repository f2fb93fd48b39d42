// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"overcast/loader"
	"overcast/test/lab"
)

// measureStarts measures a start with nothing there, and a take-over.
func measureStarts(r *report, o *options, macs int) (err error) {
	overcastd, err := o.overcastd()
	if err != nil {
		return err
	}
	for range o.rounds {
		if err := o.interrupted(); err != nil {
			return err
		}
		if err := measureStart(r, overcastd, macs); err != nil {
			return err
		}
	}
	return nil
}

func measureStart(r *report, overcastd string, macs int) (err error) {
	p, err := newStarting(macs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	near, far := p.Hosts[0], p.Hosts[1]
	start := func(h *lab.Host) (*lab.Process, error) {
		return h.StartAgent(overcastd, "--metrics", "", "--decap", string(loader.DecapTC))
	}
	if _, err := start(far); err != nil {
		return err
	}
	flow, err := lab.StartFlow(p.from, p.to, p.target(5300), 64)
	if err != nil {
		return err
	}
	group := plural(macs, "MAC") + ", start"
	began, first := time.Now(), make(chan time.Duration, 1)
	go func() {
		for flow.Received() == 0 && time.Since(began) < time.Minute {
			time.Sleep(100 * time.Microsecond)
		}
		first <- time.Since(began)
	}()
	agent, err := start(near)
	if err != nil {
		return err
	}
	r.add(group, "start to ready", "overcast", "ms", lower, float64(time.Since(began).Nanoseconds())/1e6)
	r.add(group, scaleFirst, "overcast", "ms", lower, float64((<-first).Nanoseconds())/1e6)
	if _, err := flow.Stop(); err != nil { // what came before the start is lost
		return err
	}

	if flow, err = lab.StartFlow(p.from, p.to, p.target(5301), 64); err != nil {
		return err
	}
	agent.Kill()
	began = time.Now()
	if _, err = start(near); err != nil {
		return err
	}
	s := r.add(group, "take-over to ready", "overcast", "ms", lower, float64(time.Since(began).Nanoseconds())/1e6)
	time.Sleep(50 * time.Millisecond)
	result, err := flow.Stop()
	s.Sent, s.Lost = s.Sent+result.Sent, s.Lost+result.Sent-result.Received
	return err
}

// newStarting builds two hosts with their guests and documents, and no agents.
// The guests know each other's MACs: a solicitation that is lost is repeated
// only after a second.
func newStarting(macs int) (*pair, error) {
	l, err := lab.New(lab.Options{Hosts: 2, Direct: true})
	if err != nil {
		return nil, err
	}
	p := &pair{Lab: l, setting: setting{lab.SuperFrames, lab.IPv4}}
	if err := p.populate(contender{connect: func(*pair, *options) error { return nil }}, nil); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "hosts:\n  - {name: %s, vtep: %s}\n  - {name: %s, vtep: %s}\n", p.Hosts[0].Name, p.Hosts[0].VTEP, p.Hosts[1].Name, p.Hosts[1].VTEP)
	fmt.Fprintf(&b, "environments:\n  - name: bench\n    segments:\n      - name: lan\n        vni: %d\n        ports:\n", vni)
	for i, h := range p.Hosts {
		g := p.guest(i)
		fmt.Fprintf(&b, "          - {name: %s, host: %s, interface: %s, mac: %q", g.Name, h.Name, g.Port, g.MAC)
		if i == 1 {
			b.WriteString(", extra_macs: [")
			for n := range macs {
				fmt.Fprintf(&b, "%q,", stationMAC(2, n))
			}
			b.WriteString("]")
		}
		b.WriteString("}\n")
	}
	for i, h := range p.Hosts {
		other := p.guest(1 - i)
		err := errors.Join(
			h.WriteDocument(b.String()),
			p.guest(i).SetNeighbour(guestDevice, netip.AddrFrom4(guestAddress(lab.IPv4, 1-i).As4()), other.MAC),
		)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}
