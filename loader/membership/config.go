// SPDX-License-Identifier: Apache-2.0

package membership

import "time"

// complete puts the RFCs' values where there are none.
func (c Config) complete() Config {
	c.Robustness = either(c.Robustness, 2)
	c.QueryInterval = either(c.QueryInterval, 125*time.Second)
	c.QueryResponseInterval = either(c.QueryResponseInterval, 10*time.Second)
	c.LastMemberQueryInterval = either(c.LastMemberQueryInterval, time.Second)
	c.GroupsPerPort = either(c.GroupsPerPort, 1024)
	c.Groups = either(c.Groups, 16384)
	c.Sources = either(c.Sources, 64)
	c.MTU = either(c.MTU, 1280)
	return c
}

// either is a value, or another where it is no useful one.
func either[T int | time.Duration](value, other T) T {
	if value <= 0 {
		return other
	}
	return value
}

// timing is what the timers of a family go by.
type timing struct {
	robustness       int
	interval         time.Duration // between general queries
	response         time.Duration // to a general query
	lastMember       time.Duration // between specific queries
	lastMemberWindow time.Duration // until the last answer to them
}

// timing is what is set, or what the elected querier has told where that is
// longer. RFC 3376 4.1.6 takes the querier's values also where they are
// shorter; here a guest could then make the others' memberships run out.
func (t *Table) timing(f Family) timing {
	c := t.cfg
	at := timing{c.Robustness, c.QueryInterval, c.QueryResponseInterval, c.LastMemberQueryInterval, 0}
	if r := &t.rivals[f.slot()]; r.until > t.now {
		at.robustness = max(at.robustness, r.robustness)
		at.interval = max(at.interval, r.interval)
		at.response = max(at.response, r.response)
	}
	at.lastMemberWindow = at.lastMember * time.Duration(at.robustness)
	return at
}

// listening is the group membership interval (RFC 3376 8.4), and with it the
// older host present interval (8.13): how long what was told counts.
func (at timing) listening() time.Duration {
	return at.interval*time.Duration(at.robustness) + at.response
}

// absence is the other querier present interval (RFC 3376 8.5).
func (at timing) absence() time.Duration {
	return at.interval*time.Duration(at.robustness) + at.response/2
}

// startup is the interval between the first queries (RFC 3376 8.6).
func (at timing) startup() time.Duration {
	return at.interval / 4
}
