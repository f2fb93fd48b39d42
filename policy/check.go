// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"
)

// maxVNI is 24 bits (RFC 7348 5, RFC 8926 3.4). VNI 0 is kept for the datapath.
const maxVNI = 1<<24 - 1

// Bounds of a segment's MTU, in bytes of layer 3: IPv6's least (RFC 8200 5),
// and what a 16-bit IP length leaves under the larger outer headers.
const (
	minMTU = 1280
	maxMTU = 65535 - 70
)

// What a host may have: the slots of the datapath's maps (bpf.MaxPorts,
// bpf.MaxSegments) but slot 0, which stands for none.
const (
	MaxPorts    = 4095
	MaxSegments = 4095
)

// maxLimit is the most that the agent's own limits may be set to; more groups
// or hosts than that are never there.
const maxLimit = 1 << 24

// Parse reads and checks documents. They are merged: hosts and environments may
// be spread over them. The error is Problems, all of them.
func Parse(docs []Document) (*Model, error) {
	c := &checker{
		model:        &Model{Tunnel: DefaultTunnel(VXLAN), hosts: make(map[string]int)},
		vteps:        make(map[netip.Addr]Position),
		hosts:        make(map[string]Position),
		environments: make(map[string]Position),
		vnis:         make(map[uint32]Position),
		interfaces:   make(map[[2]string]Position),
		ports:        make(map[string]int),
		segments:     make(map[string]int),
	}
	// Segments refer to hosts of other files, so hosts come first.
	var later []value
	for _, doc := range docs {
		before := len(c.problems)
		root, ok := c.open(doc)
		c.hostsUnread = c.hostsUnread || len(c.problems) > before
		if !ok {
			continue
		}
		fields := c.fields(root, "tunnel", "hosts", "environments")
		if fields == nil || misspelt(root, "hosts") || fields["hosts"].node != nil && fields["hosts"].node.Kind != yaml.SequenceNode {
			c.hostsUnread = true
		}
		c.tunnel(fields["tunnel"])
		for _, item := range c.items(fields["hosts"]) {
			c.host(item)
		}
		later = append(later, c.items(fields["environments"])...)
	}
	for _, item := range later {
		c.environment(item)
	}
	if len(c.problems) > 0 {
		c.problems.sort()
		return nil, c.problems
	}
	return c.model, nil
}

// misspelt tells whether a mapping has a key that was meant to be another, or
// that key twice, of which the second is not read.
func misspelt(v value, key string) bool {
	times := 0
	for i := 0; i < len(v.node.Content); i += 2 {
		switch name := v.node.Content[i].Value; {
		case name == key:
			times++
		case Hint(name, []string{key}) != "":
			return true
		}
	}
	return times > 1
}

// checker builds the model. The tables hold where a thing that may be only
// once was first.
type checker struct {
	reader
	// Some hosts could not be read, so who is unknown may be among them.
	hostsUnread bool
	// A zone could not be read, so a host without one may have it.
	zonesUnread  bool
	model        *Model
	tunnelAt     *Position
	vteps        map[netip.Addr]Position
	hosts        map[string]Position
	environments map[string]Position
	vnis         map[uint32]Position
	interfaces   map[[2]string]Position // host and interface
	ports        map[string]int         // number by host
	segments     map[string]int         // number by host
}

// once notes a thing that may be only once and reports it the second time.
func once[K comparable](r *reader, seen map[K]Position, key K, v value, what string) bool {
	if first, ok := seen[key]; ok {
		r.problem(v, "another one", "%s is used already at %s", what, first)
		return false
	}
	seen[key] = v.position()
	return true
}

func (c *checker) tunnel(v value) {
	if v.node == nil {
		return
	}
	fields := c.fields(v, "encapsulation", "port", "dscp", "dscp_back", "hop_limit", "source_ports", "checksum", "probe_interval")
	t := DefaultTunnel(c.encapsulation(fields["encapsulation"]))
	if port, ok := c.number(fields["port"], 1, 65535); ok {
		t.Port = uint16(port)
	}
	if limit, ok := c.number(fields["hop_limit"], 1, 255); ok {
		t.HopLimit = uint8(limit)
	}
	t.DSCP, t.DSCPBack = c.dscp(fields["dscp"]), c.boolean(fields["dscp_back"])
	if ports, ok := c.portRange(fields["source_ports"]); ok {
		t.SourcePorts = ports
	}
	t.Checksum = c.boolean(fields["checksum"])
	c.probeInterval(&t.ProbeInterval, fields["probe_interval"])
	if c.tunnelAt != nil && t != c.model.Tunnel {
		c.problem(v, "the same for all hosts", "differs from the one at %s", *c.tunnelAt)
		return
	}
	at := v.position()
	c.model.Tunnel, c.tunnelAt = t, &at
}

func (c *checker) encapsulation(v value) Encapsulation {
	const want = "vxlan or geneve"
	s, ok := c.text(v, want)
	if !ok {
		return VXLAN
	}
	i := slices.Index(encapsulations, s)
	if i < 0 {
		c.problem(v, want, "%q", s)
		return VXLAN
	}
	return Encapsulation(i)
}

// dscp reads a code point, or that it is copied.
func (c *checker) dscp(v value) int {
	if v.node != nil && v.node.Value == "copy" {
		return CopyDSCP
	}
	n, _ := c.numberFor(v, 0, 63, "copy, or a number from 0 to 63")
	return int(n)
}

// probeInterval reads how often, or that never.
func (c *checker) probeInterval(to *time.Duration, v value) {
	if v.node != nil && v.node.Value == "off" {
		*to = 0
		return
	}
	const want = "off, or a duration from 1s to 5m, like 5s"
	if d, ok := c.durationFor(v, time.Second, 5*time.Minute, want); ok {
		*to = d
	}
}

// portRange reads a range of UDP ports.
func (c *checker) portRange(v value) (Ports, bool) {
	const want = "two ports from 1024 to 65535 with a dash between them, the lower one first, like 49152-65535"
	s, ok := c.text(v, want)
	if !ok {
		return Ports{}, false
	}
	low, high, _ := strings.Cut(s, "-")
	first, err := strconv.ParseUint(low, 10, 16)
	last, also := strconv.ParseUint(high, 10, 16)
	if err != nil || also != nil || first < 1024 || last < first {
		c.problem(v, want, "%q", s)
		return Ports{}, false
	}
	return Ports{uint16(first), uint16(last)}, true
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62})$`)

// name reads a name. They are joined with slashes, and stand in paths and
// command lines.
func (c *checker) name(v value) (string, bool) {
	const want = "1 to 63 letters, digits, dots, dashes and underscores, the first a letter or digit"
	s, ok := c.text(v, want)
	if ok && !namePattern.MatchString(s) {
		c.problem(v, want, "%q", s)
		return "", false
	}
	return s, ok
}

func (c *checker) host(v value) {
	fields := c.fields(v, "name", "vtep", "zone", "foreign")
	if fields == nil {
		c.hostsUnread = true
		return
	}
	c.need(v, fields, "name", "vtep")
	h := Host{Foreign: c.boolean(fields["foreign"])}
	h.Zone, _ = c.name(fields["zone"])
	c.zonesUnread = c.zonesUnread || misspelt(v, "zone") || fields["zone"].node != nil && h.Zone == ""
	var named, addressed bool
	if h.Name, named = c.name(fields["name"]); named {
		named = once(&c.reader, c.hosts, h.Name, fields["name"], "host "+h.Name)
	} else {
		c.hostsUnread = true
	}
	if h.VTEP, addressed = c.vtep(fields["vtep"]); addressed {
		once(&c.reader, c.vteps, h.VTEP, fields["vtep"], "VTEP "+h.VTEP.String())
	}
	if named {
		c.model.hosts[h.Name] = len(c.model.Hosts)
		c.model.Hosts = append(c.model.Hosts, h)
	}
}

func (c *checker) vtep(v value) (netip.Addr, bool) {
	const want = "a unicast IPv4 or IPv6 address without a zone, like 192.0.2.1"
	a, ok := c.address(v, want)
	if ok && (a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		c.problem(v, want, "%s cannot be a tunnel endpoint", a)
		return netip.Addr{}, false
	}
	return a, ok
}

func (c *checker) address(v value, want string) (netip.Addr, bool) {
	s, ok := c.text(v, want)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		c.problem(v, want, "%q", s)
		return netip.Addr{}, false
	}
	return a, true
}

func (c *checker) environment(v value) {
	fields := c.fields(v, "name", "governor", "segments")
	if fields == nil {
		return
	}
	c.need(v, fields, "name")
	e := Environment{Governor: c.governor(fields["governor"])}
	var ok bool
	if e.Name, ok = c.name(fields["name"]); ok {
		once(&c.reader, c.environments, e.Name, fields["name"], "environment "+e.Name)
	}
	seen := make(map[string]Position)
	for _, item := range c.items(fields["segments"]) {
		if segment, ok := c.segment(item, seen); ok {
			e.Segments = append(e.Segments, segment)
		}
	}
	c.model.Environments = append(c.model.Environments, e)
}

func (c *checker) segment(v value, names map[string]Position) (SegmentSpec, bool) {
	fields := c.fields(v, "name", "vni", "mtu", "learning", "unknown_unicast", "multicast", "neighbor_answers", "relay", "clamp_mss", "members", "ports")
	if fields == nil {
		return SegmentSpec{}, false
	}
	c.need(v, fields, "name", "vni")
	s := SegmentSpec{
		VNI:             c.vni(fields["vni"]),
		MTU:             c.mtu(fields["mtu"]),
		Learning:        c.boolean(fields["learning"]),
		FloodUnknown:    c.choice(fields["unknown_unicast"], "drop", "flood") == 1,
		Multicast:       c.multicast(fields["multicast"]),
		NeighborAnswers: true,
		Relay:           c.relay(fields["relay"]),
		ClampMSS:        c.boolean(fields["clamp_mss"]),
	}
	c.setBoolean(&s.NeighborAnswers, fields["neighbor_answers"])
	var ok bool
	if s.Name, ok = c.name(fields["name"]); ok {
		once(&c.reader, names, s.Name, fields["name"], "segment "+s.Name+" of this environment")
	}
	family := &family{hosts: make(map[string]bool)}
	for _, item := range c.items(fields["members"]) {
		c.member(item, &s, family)
	}
	in := segmentSeen{names: make(map[string]Position), macs: make(map[MAC]Position), ips: make(map[netip.Addr]Position)}
	for _, item := range c.items(fields["ports"]) {
		c.port(item, &s, in, family)
	}
	c.relayFits(fields["relay"], &s, family)
	return s, true
}

// vni reads a VNI, which is a segment's own or that of its relays.
func (c *checker) vni(v value) uint32 {
	vni, ok := c.number(v, 1, maxVNI)
	if ok {
		once(&c.reader, c.vnis, uint32(vni), v, fmt.Sprintf("VNI %d", vni))
	}
	return uint32(vni)
}

func (c *checker) mtu(v value) int {
	if v.node != nil && v.node.Value == "auto" {
		return 0
	}
	if v.node == nil {
		return 0
	}
	s, ok := c.text(v, "auto or bytes")
	if !ok {
		return 0
	}
	if strings.TrimLeft(s, "0123456789") != "" {
		c.problem(v, fmt.Sprintf("auto, or a number from %d to %d", minMTU, maxMTU), "%q", s)
		return 0
	}
	n, _ := c.number(v, minMTU, maxMTU)
	return n
}

// family checks that the members of a segment can reach each other.
type family struct {
	first string
	is4   bool
	hosts map[string]bool // those that are members so far
}

// known resolves a host's name. A name that is unknown is no mistake of its
// own while some hosts could not be read.
func (c *checker) known(v value) (Host, bool) {
	name, ok := c.name(v)
	if !ok {
		return Host{}, false
	}
	index, ok := c.model.hosts[name]
	if !ok {
		if !c.hostsUnread {
			c.problem(v, "a host that is listed under hosts", "there is no host %q", name)
		}
		return Host{}, false
	}
	return c.model.Hosts[index], true
}

// join notes a member of a segment, at the place that names it.
func (c *checker) join(v value, h Host, f *family) {
	if !f.hosts[h.Name] {
		f.hosts[h.Name] = true
		c.segments[h.Name]++
		// Told once; a foreign host has its own limits.
		if c.segments[h.Name] == MaxSegments+1 && !h.Foreign {
			c.problem(v, fmt.Sprintf("at most %d segments on a host", MaxSegments), "host %s is in more segments than it can have", h.Name)
		}
	}
	if !h.VTEP.IsValid() {
		return
	}
	if f.first == "" {
		f.first, f.is4 = h.Name, h.VTEP.Is4()
	}
	if h.VTEP.Is4() != f.is4 {
		c.problem(v, "VTEPs of one address family in a segment", "host %s has another address family than %s", h.Name, f.first)
	}
}

func (c *checker) member(v value, s *SegmentSpec, f *family) {
	h, ok := c.known(v)
	if !ok {
		return
	}
	for _, name := range s.Members {
		if name == h.Name {
			c.problem(v, "each host once", "host %s is a member already", h.Name)
			return
		}
	}
	if h.Foreign && !s.Learning {
		c.problem(v, toLearn(s), "host %s is foreign, so its MACs must be learned", h.Name)
	}
	c.join(v, h, f)
	s.Members = append(s.Members, h.Name)
}

// toLearn is what it takes for a segment to learn: relays have to go.
func toLearn(s *SegmentSpec) string {
	if s.Relay.VNI != 0 {
		return "learning: true and no relay in this segment"
	}
	return "learning: true in this segment"
}

// segmentSeen is what may be only once in a segment.
type segmentSeen struct {
	names map[string]Position
	macs  map[MAC]Position
	ips   map[netip.Addr]Position
}

func (c *checker) port(v value, s *SegmentSpec, in segmentSeen, f *family) {
	fields := c.fields(v, "name", "host", "interface", "mac", "extra_macs", "ips", "governor")
	if fields == nil {
		return
	}
	c.need(v, fields, "name", "host", "interface")
	var p PortSpec
	p.Governor = c.governor(fields["governor"])
	var ok bool
	if p.Name, ok = c.name(fields["name"]); ok {
		once(&c.reader, in.names, p.Name, fields["name"], "port "+p.Name+" of this segment")
	}
	if h, ok := c.known(fields["host"]); ok {
		p.Host = h.Name
		c.join(fields["host"], h, f)
		if h.Foreign {
			c.problem(fields["host"], "a host with the agent, or the host under members", "host %s is foreign and has no ports of ours", h.Name)
		}
		if c.ports[h.Name]++; c.ports[h.Name] == MaxPorts+1 {
			c.problem(fields["host"], fmt.Sprintf("at most %d ports on a host", MaxPorts), "host %s has more ports than it can have", h.Name)
		}
	}
	if p.Interface, ok = c.device(fields["interface"]); ok && p.Host != "" {
		once(&c.reader, c.interfaces, [2]string{p.Host, p.Interface}, fields["interface"], "interface "+KeyName(p.Interface)+" of host "+p.Host)
	}
	c.portMACs(v, fields, &p, s, in)
	for _, item := range c.items(fields["ips"]) {
		if ip, ok := c.guestAddress(item); ok && once(&c.reader, in.ips, ip, item, "address "+ip.String()+" of this segment") {
			p.IPs = append(p.IPs, ip)
		}
	}
	s.Ports = append(s.Ports, p)
}

func (c *checker) portMACs(v value, fields map[string]value, p *PortSpec, s *SegmentSpec, in segmentSeen) {
	if at, given := fields["mac"]; given {
		if p.MAC, p.HasMAC = c.mac(at); p.HasMAC {
			once(&c.reader, in.macs, p.MAC, at, "MAC "+p.MAC.String()+" of this segment")
		}
	} else if !s.Learning {
		c.problem(v, "a mac, or "+toLearn(s), "port without mac in a segment that does not learn")
	}
	extra := fields["extra_macs"]
	if extra.node == nil {
		return
	}
	if extra.node.Value == "any" {
		p.AnyMAC = true
		if !s.Learning {
			c.problem(extra, "a list of MACs, or "+toLearn(s), "any MAC behind a port of a segment that does not learn")
		}
		return
	}
	for _, item := range c.items(extra) {
		if mac, ok := c.mac(item); ok && once(&c.reader, in.macs, mac, item, "MAC "+mac.String()+" of this segment") {
			p.ExtraMACs = append(p.ExtraMACs, mac)
		}
	}
}

func (c *checker) mac(v value) (MAC, bool) {
	const want = `a unicast MAC like "02:00:00:00:00:0a"`
	s, ok := c.text(v, want)
	if !ok {
		return MAC{}, false
	}
	mac, err := ParseMAC(s)
	switch {
	case err != nil:
		c.problem(v, want, "%q is not a MAC", s)
	case mac.IsGroup():
		c.problem(v, want, "%s is a group address", mac)
	case mac == MAC{}:
		c.problem(v, want, "%s is nobody's", mac)
	case mac.IsAgents():
		c.problem(v, want, "%s begins as the MACs do that agents keep for themselves (0a:6f:63)", mac)
	default:
		return mac, true
	}
	return MAC{}, false
}

func (c *checker) guestAddress(v value) (netip.Addr, bool) {
	const want = `a unicast address without a prefix length, like "2001:45::4"`
	a, ok := c.address(v, want)
	if ok && (a.IsMulticast() || a.IsUnspecified()) {
		c.problem(v, want, "%s cannot be a guest's address", a)
		return netip.Addr{}, false
	}
	return a, ok
}

// device reads a device's name as Linux allows it (net/core/dev.c, dev_valid_name).
func (c *checker) device(v value) (string, bool) {
	const want = "a device name: 1 to 15 bytes, without slash, colon or space"
	s, ok := c.text(v, want)
	if ok && (s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\r\v\f")) {
		c.problem(v, want, "%q", s)
		return "", false
	}
	return s, ok
}
