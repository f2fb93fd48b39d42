// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEvent(t *testing.T) {
	record := func(length uint32, frame string) []byte {
		var head []byte
		for _, word := range []uint32{7, 8, 9, length} {
			head = binary.NativeEndian.AppendUint32(head, word)
		}
		return append(head, frame...)
	}
	// The ring's record has room for more than the frame.
	got, ok := parseEvent(record(5, "frame and what was there before"))
	if diff := cmp.Diff(Event{Segment: 7, Ifindex: 8, Remote: 9, Frame: []byte("frame")}, got); !ok || diff != "" {
		t.Errorf("%t (-want +got):\n%s", ok, diff)
	}
	for name, bad := range map[string][]byte{
		"nothing":                   {},
		"half a header":             record(0, "")[:8],
		"longer than the record is": record(6, "frame"),
		"far longer":                record(1<<32-1, "frame"),
	} {
		if got, ok := parseEvent(bad); ok {
			t.Errorf("%s is read as %v", name, got)
		}
	}
}
