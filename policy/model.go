// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"time"
)

// Encapsulation is how frames are wrapped.
type Encapsulation uint8

// The encapsulations.
const (
	VXLAN  Encapsulation = iota // RFC 7348
	Geneve                      // RFC 8926
)

var encapsulations = []string{VXLAN: "vxlan", Geneve: "geneve"}

// String returns the name that documents use.
func (e Encapsulation) String() string {
	return encapsulations[e]
}

// Title returns the name that people write.
func (e Encapsulation) Title() string {
	return []string{VXLAN: "VXLAN", Geneve: "Geneve"}[e]
}

// DefaultPort is the UDP port that IANA gave to an encapsulation.
func (e Encapsulation) DefaultPort() uint16 {
	if e == Geneve {
		return 6081
	}
	return 4789
}

// Tunnel is the same for all hosts.
type Tunnel struct {
	Encapsulation Encapsulation
	Port          uint16 // UDP, in host byte order
	DSCP          int    // of the packets, 0 to 63, or CopyDSCP
	DSCPBack      bool   // a frame gets the DSCP of the packet that it came in
	HopLimit      uint8  // of the packets
	SourcePorts   Ports  // among which flows are spread
	Checksum      bool   // the packets have UDP checksums
	// How often each host probes the ways to the others; 0: not at all.
	ProbeInterval time.Duration
}

// CopyDSCP stands for the DSCP of the frame (RFC 2983, the uniform model).
const CopyDSCP = -1

// Ports is a range of UDP ports, in host byte order, with both ends.
type Ports struct {
	First, Last uint16
}

// Count is how many ports there are, at most 65535.
func (p Ports) Count() int {
	return int(p.Last) - int(p.First) + 1
}

// DefaultTunnel is a tunnel of which only the encapsulation is told. Flows are
// spread over the dynamic ports, as RFC 7348 5 and RFC 8926 3.3 want it.
func DefaultTunnel(e Encapsulation) Tunnel {
	return Tunnel{Encapsulation: e, Port: e.DefaultPort(), HopLimit: 64, SourcePorts: Ports{49152, 65535}, ProbeInterval: 5 * time.Second}
}

// Host is a machine with a tunnel endpoint.
type Host struct {
	Name    string
	VTEP    netip.Addr
	Zone    string
	Foreign bool // a VTEP without our agent
}

// Model is what all documents say together, checked.
type Model struct {
	Tunnel       Tunnel
	Hosts        []Host
	Environments []Environment

	hosts map[string]int // index in Hosts by name
}

// Environment is one tenant's private world.
type Environment struct {
	Name     string
	Governor Governor // of all that its ports and remotes send, on a host
	Segments []SegmentSpec
}

// SegmentSpec is a layer-2 domain with all its ports, on whatever host.
type SegmentSpec struct {
	Name            string
	VNI             uint32
	MTU             int // bytes of layer 3; 0: auto
	Learning        bool
	FloodUnknown    bool
	Multicast       Multicast
	NeighborAnswers bool // ARP and ND are answered where the answer is known
	Relay           Relay
	ClampMSS        bool     // SYNs to and from other hosts say what fits the tunnel
	Members         []string // hosts beside those with ports
	Ports           []PortSpec
}

// PortSpec is a port and the host that it is on.
type PortSpec struct {
	Port
	Host string
}

// Port is a guest's attachment to a segment.
type Port struct {
	Name      string
	Interface string // the device on the port's host
	MAC       MAC
	HasMAC    bool
	ExtraMACs []MAC
	AnyMAC    bool // extra_macs: any
	IPs       []netip.Addr
	Governor  Governor
}

// configured lists the MACs that belong to the port.
func (p *Port) configured() []MAC {
	if !p.HasMAC {
		return p.ExtraMACs
	}
	return append([]MAC{p.MAC}, p.ExtraMACs...)
}
