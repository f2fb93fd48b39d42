// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
	"overcast/policy"
	"overcast/test/lab"
)

// Stage is the namespace of a host, and one with the other ends of its devices,
// which have the same names there: an uplink, ports p1, p2, ..., and a plain
// device in the place of the kernel's tunnel device, so that what is sent to
// it can be seen.
type Stage struct {
	*lab.Lab
	Host *lab.Namespace
	Far  *lab.Namespace

	UplinkMAC net.HardwareAddr

	ports     int
	ifindexes map[string]uint32
}

// The devices that every stage has.
const (
	Uplink = lab.Uplink
	Tunnel = loader.TunnelDevice
)

// Port is the name of the n-th port's device, counted from 1.
func Port(n int) string {
	return fmt.Sprintf("p%d", n)
}

// NewStage builds a stage. Close removes it.
func NewStage(ports int) (*Stage, error) {
	l, err := lab.NewBare()
	if err != nil {
		return nil, err
	}
	s := &Stage{Lab: l, ports: ports, ifindexes: make(map[string]uint32)}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

func (s *Stage) build() error {
	var err error
	if s.Host, err = s.AddNamespace("host"); err != nil {
		return err
	}
	if s.Far, err = s.AddNamespace("far"); err != nil {
		return err
	}
	devices := []string{Uplink, Tunnel}
	for n := range s.ports {
		devices = append(devices, Port(n+1))
	}
	for _, device := range devices {
		if err := lab.Join(s.Host, s.Far, device); err != nil {
			return err
		}
		if s.ifindexes[device], err = s.Host.LinkIndex(device); err != nil {
			return err
		}
	}
	s.UplinkMAC, err = s.Host.HardwareAddr(Uplink)
	return err
}

// Ifindex is the index of a device in the host's namespace; 0 where there is none.
func (s *Stage) Ifindex(device string) uint32 {
	return s.ifindexes[device]
}

// Facts are those of the stage: its ports, an underlay of 1500 bytes, and no
// way to anywhere yet.
func (s *Stage) Facts() maps.Facts {
	facts := maps.Facts{
		Ports: make(map[string]maps.PortFacts),
		Paths: make(map[netip.Addr]bpf.Path),
		MTUs:  make(map[netip.Addr]int),
		MTU:   1500,
	}
	for n := range s.ports {
		facts.Ports[Port(n+1)] = maps.PortFacts{Ifindex: s.Ifindex(Port(n + 1))}
	}
	return facts
}

// Path is the way over the uplink to a next hop whose MAC is known.
func (s *Stage) Path(hop netip.Addr, mac net.HardwareAddr) bpf.Path {
	path := bpf.Path{Ifindex: s.Ifindex(Uplink), Flags: bpf.PathEthernet | bpf.PathMACs, Family: unix.AF_INET6}
	if hop.Is4() {
		path.Family = unix.AF_INET
	}
	copy(path.NextHop[:], hop.AsSlice())
	copy(path.Dst[:], mac)
	copy(path.Src[:], s.UplinkMAC)
	return path
}

// Magic marks the metadata of a stage's programs. The agent's is random.
const Magic = 0x0c0c0c0c_4f564552

// TunnelPort is the UDP port of VXLAN, in host byte order.
const TunnelPort = 4789

// Constants are those that the agent would set on this kernel for a host with
// this VTEP, whose uplink strips at XDP and at tc.
func (s *Stage) Constants(vtep netip.Addr) (bpf.Constants, error) {
	features, err := loader.Probe()
	if err != nil {
		return bpf.Constants{}, err
	}
	tunnel := policy.DefaultTunnel(policy.VXLAN)
	c := bpf.Constants{
		Magic:         Magic,
		TunnelIfindex: s.Ifindex(Tunnel),
		TunnelPortBe:  networkOrder(TunnelPort),
		SourcePortMin: tunnel.SourcePorts.First,
		SourcePorts:   uint16(tunnel.SourcePorts.Count()),
		HopLimit:      tunnel.HopLimit,
		Strip:         bpf.StripTC,
		XdpUplinks:    [bpf.MaxXDPUplinks]uint32{s.Ifindex(Uplink)},
	}
	c.Local.B = bpf.AddrFrom(vtep).B
	if vtep.Is6() {
		c.Ipv6 = 1
	}
	if features.DecapFlags {
		c.DecapFlags = 1
	}
	return c, nil
}

// networkOrder returns a 16-bit number whose bytes in memory are big-endian.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
