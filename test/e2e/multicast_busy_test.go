// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"overcast/test/lab"
)

// A guest that tells all the time what it wants, which is no news, does not keep
// groups from being pruned: what nobody else asks for comes to nobody else.
func TestMulticastBusyGuest(t *testing.T) {
	t.Parallel()
	p := newParty(t, lab.Options{Hosts: 2}, 4, "")
	p.start()
	s := p.send(p.guest(1), "ff05::45")
	p.join(p.guest(2), "ff05::45")
	p.reaches(s, p.pick(2)...)
	sent := p.capture(p.guest(3))
	p.join(p.guest(3), "ff05::77")
	p.eventually("g3's report", func() bool { return len(reportsOf(sent, "ff05::77")) > 0 })
	report := reportsOf(sent, "ff05::77")[0].Data
	for i := range 100 {
		if err := p.guest(3).SendFrame(lab.GuestDevice, report); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if now := p.probe(s); !now.equal(p.aim(p.pick(2)), p.homes[s.from]) {
			t.Fatalf("after %d reports of g3: %s to %s reaches %s", i+1, s.from.Name, s.Group, now)
		}
	}
	p.clean()
}
