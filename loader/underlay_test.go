// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"testing"
)

// icmpError4 and icmpError6 are errors about a packet of so many bytes, as
// underlay.h hands them over.
func icmpError4(options int, kind, code byte, mtu, sent uint16) []byte {
	ip := make([]byte, 20+options)
	ip[0] = 0x40 | byte(len(ip)/4)
	icmp := []byte{kind, code, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}
	quote := binary.BigEndian.AppendUint16([]byte{0x45, 0}, sent)
	return append(append(append(append(make([]byte, 12), 0x08, 0x00), ip...), icmp...), append(quote, make([]byte, 24)...)...)
}

func icmpError6(kind, code byte, mtu uint32) []byte {
	icmp := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, mtu)
	return append(append(append(append(make([]byte, 12), 0x86, 0xdd), make([]byte, 40)...), icmp...), make([]byte, 48)...)
}

func TestUnderlayErrors(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		mtu   int
		ok    bool
	}{
		"fragmentation needed":                  {icmpError4(0, 3, 4, 1400, 1500), 1400, true},
		"behind options":                        {icmpError4(40, 3, 4, 1400, 1500), 1400, true},
		"of a router that does not say its MTU": {icmpError4(0, 3, 4, 0, 1500), 1492, true},
		"of one on jumbo frames":                {icmpError4(0, 3, 4, 0, 9001), 8166, true},
		"nothing is smaller":                    {icmpError4(0, 3, 4, 0, 1006), 0, false},
		"no such port":                          {icmpError4(0, 3, 3, 0, 1500), 0, true},
		"time exceeded":                         {icmpError4(0, 11, 0, 0, 1500), 0, false},
		"too big":                               {icmpError6(2, 0, 1400), 1400, true},
		"too big, for nobody":                   {icmpError6(2, 0, 0), 0, false},
		"too big, absurdly":                     {icmpError6(2, 0, 1<<32-1), 1 << 16, true},
		"no such port of IPv6":                  {icmpError6(1, 4, 0), 0, true},
		"echo":                                  {icmpError6(128, 0, 0), 0, false},
		"ARP":                                   {append(make([]byte, 12), 0x08, 0x06, 0, 1, 8, 0), 0, false},
	} {
		if got, ok := parseUnderlayError(c.frame); ok != c.ok || got.mtu != c.mtu {
			t.Errorf("%s: %d bytes, %t; want %d, %t", name, got.mtu, ok, c.mtu, c.ok)
		}
		for n := range c.frame {
			if got, ok := parseUnderlayError(c.frame[:n]); ok && got.mtu != c.mtu {
				t.Errorf("%s: the first %d bytes are read as %d", name, n, got.mtu)
			}
		}
	}
	// Header lengths that are more than there is.
	for n := range 16 {
		frame := icmpError4(0, 3, 4, 1400, 1500)[:60]
		frame[14] = 0x40 | byte(n)
		_, _ = parseUnderlayError(frame)
	}
}
