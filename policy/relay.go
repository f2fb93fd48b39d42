// SPDX-License-Identifier: Apache-2.0

package policy

import yaml "go.yaml.in/yaml/v3"

// Relay says when a zone gets one copy of a frame to many, and a host there
// makes the others.
type Relay struct {
	VNI       uint32 // of the copies for a relay; 0: none is used
	Threshold int    // zones with more members than this have a relay
}

// defaultThreshold keeps small zones free of the second way through a host.
const defaultThreshold = 8

func (c *checker) relay(v value) Relay {
	if v.node == nil {
		return Relay{}
	}
	fields := c.fields(v, "vni", "threshold")
	if fields == nil {
		return Relay{}
	}
	c.need(v, fields, "vni")
	r := Relay{VNI: c.vni(fields["vni"]), Threshold: defaultThreshold}
	c.setNumber(&r.Threshold, fields["threshold"], 1, maxLimit)
	return r
}

// relayFits checks a relay against the segment's other settings and members. A
// segment that has no members yet has nothing to be wrong.
func (c *checker) relayFits(v value, s *SegmentSpec, f *family) {
	if v.node == nil || v.node.Kind != yaml.MappingNode {
		return
	}
	if s.Learning {
		c.problem(v, "learning: false, or no relay in this segment", "relayed frames come from the relay's VTEP, so MACs would be learned behind the wrong host")
	}
	zoned := len(f.hosts) == 0 || c.hostsUnread || c.zonesUnread
	for name := range f.hosts {
		h := c.model.Hosts[c.model.hosts[name]]
		// A foreign host is behind no relay, whatever its zone.
		zoned = zoned || h.Zone != "" && !h.Foreign
	}
	if !zoned {
		c.problem(v, "hosts with a zone, or no relay in this segment", "no host of this segment has a zone, so none could be reached by a relay")
	}
}
