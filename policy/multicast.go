// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// Multicast says how a segment treats frames to groups.
type Multicast struct {
	Snooping    bool // groups go to who asked for them; else to every member
	DropUnknown bool // a group that nobody asked for goes to routers only
	FastLeave   bool // a leave counts at once, without asking who else is there
	Querier     bool // the hosts ask their ports for memberships

	// The protocols' settings (RFC 3376 8, RFC 3810 9).
	QueryInterval         time.Duration
	QueryResponseInterval time.Duration
	Robustness            int

	// Limits of a host's memory.
	GroupsPerPort int
	Groups        int // of the segment
	Sources       int // of a group at a port; 0: who wants some gets all
}

// DefaultMulticast is what a segment has that says nothing. The times and the
// robustness are the RFCs' own.
func DefaultMulticast() Multicast {
	return Multicast{
		Snooping:              true,
		Querier:               true,
		QueryInterval:         125 * time.Second,
		QueryResponseInterval: 10 * time.Second,
		Robustness:            2,
		GroupsPerPort:         1024,
		Groups:                8192,
		Sources:               64,
	}
}

// What the protocols' messages can say: QQIC in seconds (RFC 3376 4.1.7,
// RFC 3810 5.1.9), the Max Resp Code in tenths of one (RFC 3376 4.1.1; MLD's
// says more), QRV in three bits of which 0 says nothing (RFC 3376 4.1.6).
const (
	minQueryInterval    = time.Second
	maxQueryInterval    = 31744 * time.Second
	minResponseInterval = 100 * time.Millisecond
	maxResponseInterval = 31744 * 100 * time.Millisecond
	maxRobustness       = 7
)

// Bounds of what a port may ask a host to remember.
const (
	maxGroupsPerPort = 65536
	maxSources       = 1024
)

func (c *checker) multicast(v value) Multicast {
	m := DefaultMulticast()
	if v.node == nil {
		return m
	}
	fields := c.fields(v, "snooping", "unknown_groups", "fast_leave", "querier", "query_interval", "query_response_interval",
		"robustness", "groups_per_port", "groups", "sources")
	m.DropUnknown = c.choice(fields["unknown_groups"], "flood", "drop") == 1
	c.setBoolean(&m.Snooping, fields["snooping"])
	c.setBoolean(&m.FastLeave, fields["fast_leave"])
	c.setBoolean(&m.Querier, fields["querier"])
	c.intervals(v, fields, &m)
	c.setNumber(&m.Robustness, fields["robustness"], 1, maxRobustness)
	c.setNumber(&m.GroupsPerPort, fields["groups_per_port"], 1, maxGroupsPerPort)
	c.setNumber(&m.Groups, fields["groups"], 1, maxLimit)
	c.setNumber(&m.Sources, fields["sources"], 0, maxSources)
	return m
}

// intervals reads the times of a query. The answers to one are in before the
// next (RFC 3376 8.3). One that cannot be read is no measure of the other.
func (c *checker) intervals(v value, fields map[string]value, m *Multicast) {
	before := len(c.problems)
	query, response := fields["query_interval"], fields["query_response_interval"]
	c.setDuration(&m.QueryInterval, query, minQueryInterval, maxQueryInterval)
	c.setDuration(&m.QueryResponseInterval, response, minResponseInterval, maxResponseInterval)
	switch {
	case len(c.problems) > before || misspelt(v, "query_interval") || misspelt(v, "query_response_interval"):
	case m.QueryResponseInterval < m.QueryInterval:
	case response.node != nil:
		c.problem(response, "less than the query_interval", "%s with a query_interval of %s", m.QueryResponseInterval, m.QueryInterval)
	default:
		c.problem(query, "more than the query_response_interval", "%s with a query_response_interval of %s", m.QueryInterval, m.QueryResponseInterval)
	}
}
