// SPDX-License-Identifier: Apache-2.0

package membership

import "time"

// A query carries times as a number of which the upper half of the values is a
// small floating-point number (RFC 3376 4.1.1, RFC 3810 5.1.3): a 1, a mantissa
// and three bits of exponent before it.

// Bits of the mantissa.
const (
	shortMantissa = 4  // in 8 bits: Max Resp Code of IGMPv3, QQIC of both
	longMantissa  = 12 // in 16 bits: Maximum Response Code of MLDv2
)

// Units of the times on the wire.
const (
	igmpUnit     = 100 * time.Millisecond
	mldUnit      = time.Millisecond
	intervalUnit = time.Second
)

// decodeCode gives the value of a code with a mantissa of some bits.
func decodeCode(code uint32, mantissa uint) uint32 {
	if code < 1<<(mantissa+3) {
		return code
	}
	return (1<<mantissa | code&(1<<mantissa-1)) << (code>>mantissa&7 + 3)
}

// encodeCode gives the code of the greatest value that can be told and is not
// greater than this one.
func encodeCode(value uint32, mantissa uint) uint32 {
	if value < 1<<(mantissa+3) {
		return value
	}
	for exponent := range uint32(8) {
		if significand := value >> (exponent + 3); significand < 2<<mantissa {
			return 1<<(mantissa+3) | exponent<<mantissa | significand&(1<<mantissa-1)
		}
	}
	return 1<<(mantissa+4) - 1
}

// units is how many whole units a time has, at most the greatest of 32 bits.
func units(d, unit time.Duration) uint32 {
	return uint32(min(max(d/unit, 0), 1<<32-1))
}
