// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"encoding/binary"
	"net/netip"
)

// Checksum is the Internet checksum of RFC 1071, of data and of a sum begun
// elsewhere. Over data that holds its own checksum it is 0.
func Checksum(sum uint32, data []byte) uint16 {
	sum = add(sum, data)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// add sums 16-bit words in network byte order. A packet has too few to overflow.
func add(sum uint32, data []byte) uint32 {
	for ; len(data) >= 2; data = data[2:] {
		sum += uint32(binary.BigEndian.Uint16(data))
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	return sum
}

// pseudoSum begins a checksum with the pseudo-header of RFC 8200 8.1.
func pseudoSum(source, destination netip.Addr, length int, protocol byte) uint32 {
	from, to := source.As16(), destination.As16()
	return add(add(uint32(length)+uint32(protocol), from[:]), to[:])
}
