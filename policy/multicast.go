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
	Sources       int // of a group at a port
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
