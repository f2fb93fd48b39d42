// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"errors"
	"fmt"
)

// Cause is why a frame is no valid membership message, to be counted by.
type Cause uint8

// The causes.
const (
	// Unreadable is an error that does not come from Parse.
	Unreadable Cause = iota
	// Unrelated is a frame that is no membership message at all.
	Unrelated
	// Truncated is a frame that ends before a header or a list does.
	Truncated
	// BadHeader is an IP or extension header that contradicts itself.
	BadHeader
	// Fragmented is a part of a packet. Neither protocol's messages are that long.
	Fragmented
	// BadChecksum is a wrong checksum, of the message or of the IPv4 header.
	BadChecksum
	// BadHopLimit is MLD that may come from another link.
	BadHopLimit
	// NoRouterAlert is an MLD query without the Router Alert option.
	NoRouterAlert
	// BadSource is a sender that such a message cannot have.
	BadSource
	// BadDestination is a query that is not for all nodes, or not for its group.
	BadDestination
	// BadGroup is a group that is no multicast address.
	BadGroup
	// BadRecord is a query with an impossible source, or a record with one or with
	// an impossible group; only the record is refused then.
	BadRecord
)

// Causes are all of them, in order.
func Causes() []Cause {
	all := make([]Cause, 0, BadRecord+1)
	for c := Unreadable; c <= BadRecord; c++ {
		all = append(all, c)
	}
	return all
}

func (c Cause) String() string {
	switch c {
	case Unrelated:
		return "unrelated"
	case Truncated:
		return "truncated"
	case BadHeader:
		return "header"
	case Fragmented:
		return "fragment"
	case BadChecksum:
		return "checksum"
	case BadHopLimit:
		return "hop_limit"
	case NoRouterAlert:
		return "router_alert"
	case BadSource:
		return "source"
	case BadDestination:
		return "destination"
	case BadGroup:
		return "group"
	case BadRecord:
		return "record"
	}
	return "unreadable"
}

// MalformedError says why Parse refuses a frame.
type MalformedError struct {
	Cause  Cause
	detail string
}

func (e *MalformedError) Error() string {
	return e.detail
}

// CauseOf tells the cause of an error of Parse.
func CauseOf(err error) Cause {
	var malformed *MalformedError
	if errors.As(err, &malformed) {
		return malformed.Cause
	}
	return Unreadable
}

// refuse makes the error of a cause.
func refuse(cause Cause, format string, args ...any) error {
	return &MalformedError{cause, fmt.Sprintf(format, args...)}
}
