// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// Foreign is a VTEP without our agent: the kernel's own tunnel device and
// bridge. It is the oracle of interoperation.
type Foreign struct {
	*Namespace
	Name   string
	VTEP   netip.Addr
	lab    *Lab
	door   string
	ovs    *OpenVSwitch // nil: the kernel's bridge
	guests int
}

// ForeignOptions describe a foreign VTEP.
type ForeignOptions struct {
	VNI      uint32
	Remotes  []netip.Addr // flooded to (head-end replication)
	Snooping bool
	Querier  *BridgeQuerier // nil: the bridge asks nobody
	Geneve   bool           // to the only one of Remotes
	// An Open vSwitch with its kernel datapath, to the only one of Remotes.
	OpenVSwitch bool
}

// AddForeign adds a host with a switch of the kernel's to the underlay.
func (l *Lab) AddForeign(name string, options ForeignOptions) (*Foreign, error) {
	n, err := l.namespace(name)
	if err != nil {
		return nil, err
	}
	prefix := l.vtep(200 + len(name)%40)
	f := &Foreign{Namespace: n, Name: name, VTEP: prefix.Addr(), lab: l}
	if f.door, err = l.connect(n, Uplink, prefix); err != nil {
		return nil, err
	}
	if err := n.BridgeNetfilterOff(); err != nil {
		return nil, err
	}
	if options.OpenVSwitch {
		return f, f.startOpenVSwitch(options)
	}
	err = n.AddSwitch(Switch{
		VNI: options.VNI, Local: f.VTEP, MTU: l.options.MTU - l.Overhead(),
		Remotes: options.Remotes, Learning: true, Snooping: options.Snooping, Checksum: true, Geneve: options.Geneve,
	})
	if err != nil {
		return nil, fmt.Errorf("foreign host %s: %w", name, err)
	}
	if options.Querier == nil {
		return f, nil
	}
	return f, f.StartQuerier(*options.Querier)
}

// AddGuest adds a guest behind the foreign switch.
func (f *Foreign) AddGuest(name string, options GuestOptions) (*Guest, error) {
	f.guests++
	if options.Port == "" {
		options.Port = fmt.Sprintf("p%d", f.guests)
	}
	if options.MAC == "" {
		options.MAC = fmt.Sprintf("02:00:00:01:%02x:%02x", f.VTEP.As16()[15], f.guests)
	}
	g, err := f.lab.newGuest(f.Namespace, name, options)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", name, err)
	}
	if f.ovs != nil {
		return g, f.ovs.Configure("add-port", switchBridge, g.Port)
	}
	return g, f.PlugIntoSwitch(g.Port)
}

func (f *Foreign) startOpenVSwitch(options ForeignOptions) (err error) {
	if f.ovs, err = f.lab.StartOpenVSwitch(f.Namespace, filepath.Join(f.lab.Dir, f.Name+"-ovs")); err != nil {
		return err
	}
	kind := "vxlan"
	if options.Geneve {
		kind = "geneve"
	}
	return f.ovs.AddTunnel(kind, options.VNI, f.VTEP, options.Remotes[0])
}
