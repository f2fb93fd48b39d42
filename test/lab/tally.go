// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// numberMagic stands in front of the number of a sender's packet.
var numberMagic = []byte("overcast")

// numberSize is the least payload of a sender's packet, in bytes.
const numberSize = 16

// writeNumber numbers a packet.
func writeNumber(payload []byte, number uint64) {
	copy(payload, numberMagic)
	binary.BigEndian.PutUint64(payload[len(numberMagic):], number)
}

// readNumber tells whether a payload is that of a sender, and its number.
func readNumber(payload []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(payload, numberMagic)
	if !ok || len(rest) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(rest), true
}

// Tally is what has come of the numbered packets of a sender: how often each.
type Tally map[uint64]int

// count adds a packet to the tally of its sender.
func count[K comparable](tallies map[K]Tally, sender K, number uint64) {
	if tallies[sender] == nil {
		tallies[sender] = make(Tally)
	}
	tallies[sender][number]++
}

// Lost are the packets from one number to before another that have not come.
func (t Tally) Lost(from, to uint64) []uint64 {
	var lost []uint64
	for number := from; number < to; number++ {
		if t[number] == 0 {
			lost = append(lost, number)
		}
	}
	return lost
}

// Duplicates is how many packets have come that had come before.
func (t Tally) Duplicates() int {
	n := 0
	for _, copies := range t {
		n += copies - 1
	}
	return n
}

// String sums it up for logs.
func (t Tally) String() string {
	if len(t) == 0 {
		return "nothing"
	}
	first, last := ^uint64(0), uint64(0)
	for number := range t {
		first, last = min(first, number), max(last, number)
	}
	return fmt.Sprintf("%d packets of %d to %d, duplicated %d", len(t), first, last, t.Duplicates())
}
