// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"overcast/bpf"
	"overcast/maps"
	"overcast/policy"
)

// Report is what the agent writes to run_dir/state.json for whoever reads the
// pinned maps: the names of what they hold, the modes in use and why, and the
// last error. It is the agent's last word, also when it is no longer there.
type Report struct {
	Schema  int       `json:"schema"`
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`

	Host          string     `json:"host"`
	VTEP          netip.Addr `json:"vtep"`
	Underlay      netip.Addr `json:"underlay"`
	Encapsulation string     `json:"encapsulation"`
	TunnelPort    uint16     `json:"tunnel_port"`
	Attach        string     `json:"attach"` // tcx or clsact
	Decap         Decap      `json:"decap"`  // as configured
	Features      Features   `json:"features"`

	Tunnel   TunnelReport    `json:"tunnel"`
	Uplinks  []UplinkReport  `json:"uplinks"`
	Segments []SegmentReport `json:"segments"`
	Ports    []PortReport    `json:"ports"`
	Remotes  []RemoteReport  `json:"remotes"`
	Config   ConfigReport    `json:"config"`
	Problems []string        `json:"problems"` // what is not as the documents want it
	Devices  []DeviceReport  `json:"devices"`  // how devices were before us
}

// TunnelReport is the state of the kernel's tunnel device. It has no name where
// the kernel does not know the encapsulation.
type TunnelReport struct {
	Device  string `json:"device"`
	Ifindex uint32 `json:"ifindex"`
	Error   string `json:"error,omitempty"`
}

// UplinkReport is how an uplink strips, and why so.
type UplinkReport struct {
	Interface string `json:"interface"`
	Ifindex   uint32 `json:"ifindex"`
	MTU       int    `json:"mtu"` // bytes
	Decap     Decap  `json:"decap"`
	Reason    string `json:"reason"`
}

// SegmentReport names a segment's slot.
type SegmentReport struct {
	Slot        uint32 `json:"slot"`
	Environment string `json:"environment"`
	Segment     string `json:"segment"`
	VNI         uint32 `json:"vni"`
	MTU         int    `json:"mtu"`            // bytes of layer 3, in force
	Configured  int    `json:"mtu_configured"` // 0: auto
	// Nil where the segment has no relays.
	Relay *RelayReport `json:"relay,omitempty"`
}

// RelayReport is how a segment uses relays.
type RelayReport struct {
	VNI       uint32            `json:"vni"`
	Threshold int               `json:"threshold"` // zones with more receivers get one copy
	Zones     []RelayZoneReport `json:"zones"`
}

// RelayZoneReport is how a zone is sent to. A list of receivers that has no more
// of them there than the threshold is sent to one by one all the same.
type RelayZoneReport struct {
	Zone       string                 `json:"zone"`
	Own        bool                   `json:"own"`     // this host's zone, which needs none
	Members    int                    `json:"members"` // hosts of the segment there, without this one
	Relay      string                 `json:"relay"`   // the host in use; empty: none, and each member is sent to
	Candidates []RelayCandidateReport `json:"candidates"`
}

// RelayCandidateReport is a host that may relay, the preferred one first.
type RelayCandidateReport struct {
	Host  string `json:"host"`
	Alive bool   `json:"alive"` // it answers probes
}

// PortReport names a port, whether its device is there or not.
type PortReport struct {
	Slot        uint32    `json:"slot"`
	Environment string    `json:"environment"`
	Segment     string    `json:"segment"`
	Port        string    `json:"port"`
	Interface   string    `json:"interface"`
	Ifindex     uint32    `json:"ifindex"` // 0: the device is missing
	State       PortState `json:"state"`
	// The ifindex that its drops are counted under: while the device is
	// missing, that of the last one.
	DropsIfindex uint32       `json:"drops_ifindex"`
	MTU          int          `json:"mtu"` // bytes; what the guest should have
	DeviceMTU    int          `json:"device_mtu"`
	MAC          string       `json:"mac,omitempty"`
	ExtraMACs    []string     `json:"extra_macs,omitempty"` // "any" alone: all
	IPs          []netip.Addr `json:"ips,omitempty"`
}

// PortState is what has become of a port.
type PortState string

// The states of ports. Only one that is up carries frames.
const (
	PortUp         PortState = "up"
	PortDown       PortState = "down"       // the device is set down
	PortUnattached PortState = "unattached" // the device is there, and our program is not on it
	PortMissing    PortState = "missing"    // there is no such device
)

// RemoteReport names a remote's slot.
type RemoteReport struct {
	Slot    uint32     `json:"slot"`
	Host    string     `json:"host"`
	VTEP    netip.Addr `json:"vtep"`
	Zone    string     `json:"zone,omitempty"`
	Foreign bool       `json:"foreign"`
	MTU     int        `json:"mtu"` // bytes of the largest underlay packet; 0: no route
	Uplink  string     `json:"uplink,omitempty"`
	PathReport
	// Nil where the host is not probed, or not yet known to answer or not.
	Probe *ProbeReport `json:"probe,omitempty"`
}

// ConfigReport is where the state came from and whether it is the latest.
type ConfigReport struct {
	Source    string    `json:"source"`
	Applied   time.Time `json:"applied"`
	Error     string    `json:"error,omitempty"` // why a newer one was refused
	ErrorTime time.Time `json:"error_time,omitzero"`
}

// ReportSchema is the version of the report's form.
const ReportSchema = 1

// Report returns the datapath's part of the report; before the first Apply
// only the features are known.
func (d *Datapath) Report() Report {
	r := Report{Schema: ReportSchema, Decap: d.opts.Decap, Features: d.features, Attach: "clsact"}
	if d.features.TCX {
		r.Attach = "tcx"
	}
	if d.state == nil || d.contents == nil || d.tunnel.link == nil && !d.tunnel.absent {
		return r
	}
	r.Host, r.VTEP, r.Underlay = d.state.Host.Name, d.state.Host.VTEP, d.local()
	r.Encapsulation, r.TunnelPort = d.state.Tunnel.Encapsulation.String(), d.state.Tunnel.Port
	r.Tunnel = TunnelReport{Device: TunnelDevice, Ifindex: d.tunnel.ifindex()}
	if d.tunnel.absent {
		r.Tunnel = TunnelReport{Error: noDevice(d.state.Tunnel.Encapsulation)}
	} else if d.tunnel.held != nil {
		r.Tunnel.Error = d.tunnel.held.Error()
	}
	r.Problems = d.Problems()
	r.Devices = d.formerDevices()
	for _, u := range d.uplinks {
		r.Uplinks = append(r.Uplinks, UplinkReport{u.name, u.ifindex, u.mtu, u.decap, u.reason})
	}
	d.reportRemotes(&r)
	d.reportSegments(&r)
	return r
}

func (d *Datapath) reportRemotes(r *Report) {
	slots := make(map[netip.Addr]uint32)
	for slot, remote := range d.contents.Remotes {
		slots[remote.Vtep.NetAddr()] = slot
	}
	for _, remote := range d.state.Remotes {
		row := RemoteReport{
			Slot:    slots[remote.VTEP],
			Host:    remote.Name,
			VTEP:    remote.VTEP,
			Zone:    remote.Zone,
			Foreign: remote.Foreign,
			MTU:     d.routes.mtus[remote.VTEP],
			Uplink:  d.machine.byIndex[d.routes.paths[remote.VTEP].Ifindex].name,
		}
		row.Probe, row.PathReport = d.groups.reportPath(time.Now(), remote.VTEP)
		r.Remotes = append(r.Remotes, row)
	}
}

func (d *Datapath) reportSegments(r *Report) {
	slots := make(map[string]uint32)
	for slot, object := range d.contents.SegmentNames {
		slots[object] = slot
	}
	for i := range d.state.Segments {
		segment := &d.state.Segments[i]
		slot := slots[segment.Object()]
		mtu := int(d.contents.Segments[slot].Mtu)
		r.Segments = append(r.Segments, SegmentReport{slot, segment.Environment, segment.Name, segment.VNI, mtu, segment.MTU, d.reportRelays(segment, slot)})
		for _, port := range segment.Ports {
			device := d.machine.byName[port.Interface]
			p := PortReport{
				Slot:         d.contents.Slots[segment.Object()+"/"+port.Name],
				Environment:  segment.Environment,
				Segment:      segment.Name,
				Port:         port.Name,
				Interface:    port.Interface,
				Ifindex:      device.ifindex,
				State:        d.portState(device),
				DropsIfindex: d.counted[segment.Object()+"/"+port.Name],
				MTU:          mtu,
				DeviceMTU:    device.mtu,
				IPs:          port.IPs,
			}
			if port.HasMAC {
				p.MAC = port.MAC.String()
			}
			for _, mac := range port.ExtraMACs {
				p.ExtraMACs = append(p.ExtraMACs, mac.String())
			}
			if port.AnyMAC {
				p.ExtraMACs = []string{"any"}
			}
			r.Ports = append(r.Ports, p)
		}
	}
	slices.SortFunc(r.Ports, func(a, b PortReport) int { return strings.Compare(a.Object(), b.Object()) })
}

// reportRelays tells of the relays of a segment, nil where it has none.
func (d *Datapath) reportRelays(segment *policy.Segment, slot uint32) *RelayReport {
	relays := d.contents.Relays[slot]
	if relays == nil {
		return nil
	}
	hosts, alive := make(map[netip.Addr]string), d.groups.live.alive()
	for _, remote := range d.state.Remotes {
		hosts[remote.VTEP] = remote.Name
	}
	r := &RelayReport{VNI: segment.Relay.VNI, Threshold: relays.Threshold(), Zones: []RelayZoneReport{}}
	for _, zone := range relays.Zones() {
		row := RelayZoneReport{Zone: zone.Name, Own: zone.Own, Members: zone.Members, Relay: d.contents.RemoteNames[zone.Relay], Candidates: []RelayCandidateReport{}}
		for _, vtep := range zone.Candidates {
			row.Candidates = append(row.Candidates, RelayCandidateReport{hosts[vtep], alive[maps.RelayWay{VTEP: vtep, VNI: segment.Relay.VNI}]})
		}
		r.Zones = append(r.Zones, row)
	}
	return r
}

// portState judges a port by its device.
func (d *Datapath) portState(device device) PortState {
	switch {
	case device.ifindex == 0:
		return PortMissing
	case !d.bearing[device.ifindex]:
		return PortUnattached
	case !device.up:
		return PortDown
	}
	return PortUp
}

// Object is the port's full name, environment/segment/port.
func (p PortReport) Object() string {
	return p.Environment + "/" + p.Segment + "/" + p.Port
}

// Object is the segment's full name, environment/segment.
func (s SegmentReport) Object() string {
	return s.Environment + "/" + s.Segment
}

// Slots returns the slots that a report gave to ports, by object.
func (r *Report) Slots() map[string]uint32 {
	slots := make(map[string]uint32)
	for _, port := range r.Ports {
		if port.Slot > 0 && port.Slot < bpf.MaxPorts {
			slots[port.Object()] = port.Slot
		}
	}
	return slots
}

func reportPath(runDir string) string {
	return filepath.Join(runDir, "state.json")
}

// WriteReport replaces the report in one step.
func WriteReport(runDir string, r *Report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := replaceFile(reportPath(runDir), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// ReadReport reads the last report. The error wraps fs.ErrNotExist if there is none.
func ReadReport(runDir string) (*Report, error) {
	text, err := os.ReadFile(reportPath(runDir))
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading the report %s: %w", reportPath(runDir), err)
	}
	for i := range r.Ports {
		// Earlier versions told no states.
		if p := &r.Ports[i]; p.State == "" && p.Ifindex != 0 {
			p.State = PortUp
		} else if p.State == "" {
			p.State = PortMissing
		}
		if p := &r.Ports[i]; p.DropsIfindex == 0 {
			p.DropsIfindex = p.Ifindex
		}
	}
	return &r, nil
}
