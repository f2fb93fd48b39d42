// SPDX-License-Identifier: Apache-2.0

package policy

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
