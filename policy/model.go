// SPDX-License-Identifier: Apache-2.0

package policy

import "net/netip"

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
