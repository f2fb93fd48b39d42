// SPDX-License-Identifier: Apache-2.0

package policy

// Relay says when a zone gets one copy of a frame to many, and a host there
// makes the others.
type Relay struct {
	VNI       uint32 // of the copies for a relay; 0: none is used
	Threshold int    // zones with more members than this have a relay
}
