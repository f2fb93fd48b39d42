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
	c.Sources = max(c.Sources, 0)
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

// timing is what is set. RFC 3376 4.1.6 takes the elected querier's values; but
// any guest may pose as one, and must not change when it is asked, or what
// silence means. Only how long memberships last goes by a querier's values too.
func (t *Table) timing() timing {
	c := t.cfg
	window := c.LastMemberQueryInterval * time.Duration(c.Robustness)
	return timing{c.Robustness, c.QueryInterval, c.QueryResponseInterval, c.LastMemberQueryInterval, window}
}

// listeningMost bounds how long a querier can make memberships last, in group
// membership intervals of our own.
const listeningMost = 4

// listening is for how long counts what a listener of a family tells: our group
// membership interval, or the elected querier's where it asks less often.
func (t *Table) listening(f Family) time.Duration {
	ours := t.timing()
	r := &t.rivals[f.slot()]
	if r.until <= t.now {
		return ours.listening()
	}
	theirs := timing{
		robustness: max(ours.robustness, r.robustness),
		interval:   max(ours.interval, r.interval),
		response:   max(ours.response, r.response),
	}
	return min(theirs.listening(), listeningMost*ours.listening())
}

// muteResponse is how long a listener of IGMPv1 takes to answer, whatever it is
// asked (RFC 1112, appendix I).
const muteResponse = 10 * time.Second

// listeningTo is listening for what a message tells.
func (t *Table) listeningTo(msg *Message) time.Duration {
	lasting := t.listening(msg.Family)
	if msg.Family == IPv4 && msg.Version == 1 {
		lasting += max(muteResponse-t.timing().response, 0)
	}
	return lasting
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
