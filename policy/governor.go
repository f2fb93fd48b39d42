// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

// Governor bounds what frames to many may cost, by their class.
type Governor struct {
	Broadcast      Rate
	UnknownUnicast Rate
	Multicast      Rate
}

// Rate is what may be made each second; 0 is no limit.
type Rate struct {
	Copies uint64
	Bytes  uint64 // of all copies together
}

// maxRate is one copy or byte a picosecond: the datapath's costs are whole
// picoseconds (bpf/types.h, oc_governor).
const maxRate int64 = 1e12

func (c *checker) governor(v value) Governor {
	if v.node == nil {
		return Governor{}
	}
	fields := c.fields(v, "broadcast", "unknown_unicast", "multicast")
	return Governor{
		Broadcast:      c.rate(fields["broadcast"]),
		UnknownUnicast: c.rate(fields["unknown_unicast"]),
		Multicast:      c.rate(fields["multicast"]),
	}
}

// rate reads the limits of a class. One that is there and limits nothing was
// meant to.
func (c *checker) rate(v value) Rate {
	if v.node == nil {
		return Rate{}
	}
	fields := c.fields(v, "copies", "bytes")
	if fields != nil && len(v.node.Content) == 0 {
		c.problem(v, "copies, bytes or both; leave the class out for no limit", "no limit given")
	}
	return Rate{Copies: c.perSecond(fields["copies"]), Bytes: c.perSecond(fields["bytes"])}
}

func (c *checker) perSecond(v value) uint64 {
	n, _ := c.numberFor(v, 1, maxRate, fmt.Sprintf("a number from 1 to %d; leave it out for no limit", maxRate))
	return uint64(n)
}
