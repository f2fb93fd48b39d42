// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
)

// governorBurst is what a limit lets through at once (bpf/governor.h).
const governorBurst = 100 * time.Millisecond

// newGoverned builds two hosts with two guests each of one segment: the odd
// ones are on the first host. limits are the governors of ports, by guest.
func newGoverned(t *testing.T, limits map[string]string, more string, flags ...string) *world {
	t.Helper()
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t, flags: flags, more: more}
	for i := range 4 {
		w.addGuest(w.Hosts[i%2], fmt.Sprintf("g%d", i+1), lab.GuestOptions{})
	}
	for name, limit := range limits {
		w.limit(name, limit)
	}
	t.Cleanup(w.explain)
	w.start()
	return w
}

// limit gives a guest's port a governor, or takes it away.
func (w *world) limit(guest, limit string) {
	for i, port := range w.ports {
		if !strings.HasPrefix(port, "{name: "+guest+",") {
			continue
		}
		port, _, _ = strings.Cut(strings.TrimSuffix(port, "}"), ", governor: ")
		if limit != "" {
			port += ", governor: " + limit
		}
		w.ports[i] = port + "}"
	}
}

// Where numbered frames go: to all, and to a group that is nobody's.
const toAll, toGroup = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:45"

// numbered is a frame of a guest with a number.
func numbered(from *lab.Guest, to string, number uint32) []byte {
	return frame(to, from.MAC, binary.BigEndian.AppendUint32([]byte{0x88, 0xb5}, number)...)
}

// counts are what became of a segment's broadcasts on a host.
type counts struct {
	frames, copies, cut uint64
}

func (c counts) since(before counts) counts {
	return counts{c.frames - before.frames, c.copies - before.copies, c.cut - before.cut}
}

// counted reads them out of the pinned maps.
func (w *world) counted(h *lab.Host, vni uint32) counts {
	w.t.Helper()
	set, err := maps.Open(h.PinPath)
	if err != nil {
		w.t.Fatal(err)
	}
	defer set.Close()
	var segment bpf.VNI
	if err := set.VNIs.Lookup(vni, &segment); err != nil {
		w.t.Fatal(err)
	}
	copies, err := set.CopyCounts(segment.Segment)
	if err != nil {
		w.t.Fatal(err)
	}
	drops, err := set.DropCounts()
	if err != nil {
		w.t.Fatal(err)
	}
	c := counts{frames: copies[bpf.ClassBroadcast].Frames, copies: copies[bpf.ClassBroadcast].Copies}
	for key, count := range drops {
		if key.Segment == segment.Segment && (key.Reason == bpf.DropPortBroadcast || key.Reason == bpf.DropEnvironmentBroadcast) {
			c.cut += count.Packets
		}
	}
	return c
}

// storm sends the broadcasts with these numbers as fast as the guest's host h
// takes them, and returns what became of them there.
func (w *world) storm(from *lab.Guest, h *lab.Host, vni, first, n uint32) counts {
	w.t.Helper()
	raw, err := from.OpenRaw(lab.GuestDevice)
	if err != nil {
		w.t.Fatal(err)
	}
	defer raw.Close()
	before := w.counted(h, vni)
	var c counts
	for i := range n {
		if err := raw.Write(numbered(from, toAll, first+i)); err != nil {
			w.t.Fatal(err)
		}
		// More at once would overflow a queue of the kernel's before our program.
		if sent := uint64(i + 1); sent%100 == 0 || i+1 == n {
			w.eventually("the host has taken the frames", func() bool {
				c = w.counted(h, vni).since(before)
				return c.frames+c.cut >= sent
			})
		}
	}
	return c
}

// steady sends frames to a group until the function that it returns is called,
// which tells how many those were.
func (w *world) steady(from *lab.Guest) (stop func() uint64) {
	w.t.Helper()
	raw, err := from.OpenRaw(lab.GuestDevice)
	if err != nil {
		w.t.Fatal(err)
	}
	end, sent := make(chan struct{}), make(chan uint64, 1)
	go func() {
		defer raw.Close()
		n := uint32(0)
		for {
			select {
			case <-end:
				sent <- uint64(n)
				return
			case <-time.After(time.Millisecond):
				if raw.Write(numbered(from, toGroup, n)) == nil {
					n++
				}
			}
		}
	}()
	return func() uint64 {
		close(end)
		return <-sent
	}
}

// arrived counts the numbered frames of a guest at another, by number.
func arrived(c *lab.Capture, from *lab.Guest, to string) map[uint32]int {
	head, numbers := numbered(from, to, 0), make(map[uint32]int)
	head = head[:len(head)-4]
	for _, f := range c.Frames() {
		if rest, ok := bytes.CutPrefix(f.Data, head); ok && len(rest) >= 4 {
			numbers[binary.BigEndian.Uint32(rest)]++
		}
	}
	return numbers
}

// await waits until so many numbered frames of a guest have arrived at each of
// these, each once.
func (w *world) await(from *lab.Guest, to string, n uint64, captures ...*lab.Capture) {
	w.t.Helper()
	for _, c := range captures {
		w.eventually(fmt.Sprintf("%d frames of %s at %s", n, from.Name, c.Place), func() bool {
			return uint64(len(arrived(c, from, to))) >= n
		})
		numbers := arrived(c, from, to)
		if uint64(len(numbers)) != n {
			w.t.Errorf("%d frames of %s at %s, should be %d", len(numbers), from.Name, c.Place, n)
		}
		for number, times := range numbers {
			if times != 1 {
				w.t.Errorf("frame %d of %s: %d times at %s", number, from.Name, times, c.Place)
			}
		}
	}
}

// within checks that no more went through than a limit of copies a second lets
// through in this time.
func (w *world) within(what string, copies uint64, rate float64, took time.Duration, each float64) {
	w.t.Helper()
	if most := rate*(took+governorBurst).Seconds() + each; float64(copies) > most {
		w.t.Errorf("%s: %d copies in %s, the limit lets through %.1f", what, copies, took, most)
	}
}

// A storm of broadcasts is cut for the port that it comes from, whole frames at
// a time, while the others' broadcasts and the port's own unicast go through.
func TestStormIsCut(t *testing.T) {
	w := newGoverned(t, map[string]string{"g1": "{broadcast: {copies: 200}}"}, "", "--metrics", "127.0.0.1:9469")
	a := w.Hosts[0]
	others := []*lab.Capture{w.capture(w.guests[1]), w.capture(w.guests[2]), w.capture(w.guests[3])}
	calm := []*lab.Capture{w.capture(w.guests[0]), others[0], others[2]}
	f := w.flow()

	begin := time.Now()
	c := w.storm(w.guests[0], a, 4500, 0, 1000)
	calmOnes := w.storm(w.guests[2], a, 4500, 0, 200)
	more := w.storm(w.guests[0], a, 4500, 1000, 1000)
	took := time.Since(begin)

	w.whole("the storm's port, to one", f)
	// At 100 frames a second and a burst of ten; the first goes through anyhow.
	through, copies, cut := c.frames+more.frames, c.copies+more.copies, c.cut+more.cut
	w.within("the storm", copies, 200, took, 2)
	if through < 10 || cut == 0 || through+cut != 2000 || copies != 2*through {
		t.Errorf("of 2000 frames %d went through in %d copies and %d were cut; should be 10 at least, in 2 copies each (a port and a host), and the rest", through, copies, cut)
	}
	w.await(w.guests[0], toAll, through, others...)
	if calmOnes != (counts{frames: 200, copies: 400}) {
		t.Errorf("of the other port's 200 frames: %+v", calmOnes)
	}
	w.await(w.guests[2], toAll, 200, calm...)
	if drops := w.drops(a); drops["DROP_PORT_BROADCAST"] != cut || drops["DROP_ENVIRONMENT_BROADCAST"] != 0 {
		t.Errorf("%s dropped %v, and has cut %d frames of a port", a.Name, drops, cut)
	}

	const labels = `{class="broadcast",environment="shop",segment="lan"} `
	text := w.metrics(a)
	for _, line := range []string{
		fmt.Sprintf("overcast_replication_frames_total%s%d", labels, through+200),
		fmt.Sprintf("overcast_replication_copies_total%s%d", labels, copies+400),
		fmt.Sprintf(`overcast_drops_total{reason="DROP_PORT_BROADCAST"} %d`, cut),
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the metrics do not say %s:\n%s", line, text)
		}
	}
	w.clean()
}

// Two environments do not share what each may: while one is in a storm from
// several ports and hosts, which together get what one limit lets through, the
// other's broadcasts go through.
func TestEnvironmentsDoNotShareLimits(t *testing.T) {
	const governor = "    governor: {broadcast: {copies: 100}}\n"
	w := newGoverned(t, nil, "")
	a := w.Hosts[0]
	// One more environment, with a port on each host.
	shop := w.ports
	fifth, sixth := w.addGuest(a, "g5", lab.GuestOptions{}), w.addGuest(w.Hosts[1], "g6", lab.GuestOptions{})
	w.more = governor + "  - name: mall\n" + governor + "    segments:\n      - name: lan\n        vni: 4510\n        ports:\n"
	for _, port := range w.ports[len(shop):] {
		w.more += "          - " + port + "\n"
	}
	w.ports = shop
	w.rewrite()
	here, there := w.capture(w.guests[2]), w.capture(w.guests[3])
	neighbour := w.capture(sixth)

	begin := time.Now()
	first := w.storm(w.guests[0], a, 4500, 0, 500)
	// Ten copies are a burst, so that these go through at once.
	calm := w.storm(fifth, a, 4510, 0, 5)
	second := w.storm(w.guests[2], a, 4500, 0, 500)
	took := time.Since(begin)

	if calm != (counts{frames: 5, copies: 5}) {
		t.Errorf("of 5 frames of the other environment: %+v", calm)
	}
	w.await(fifth, toAll, 5, neighbour)
	w.within("the storm from two ports", first.copies+second.copies, 100, took, 2)
	if first.frames == 0 || first.cut == 0 || second.cut == 0 {
		t.Errorf("the storm: %+v and %+v; should go through at first, and be cut", first, second)
	}
	if drops := w.drops(a); drops["DROP_ENVIRONMENT_BROADCAST"] != first.cut+second.cut || drops["DROP_PORT_BROADCAST"] != 0 {
		t.Errorf("%s dropped %v, and has cut %d frames of an environment", a.Name, drops, first.cut+second.cut)
	}

	// What comes from another host is judged here once more: the limit is what
	// the environment may cost this host.
	applied := w.status(a).Config.Applied
	if err := a.WriteDocument(strings.ReplaceAll(w.document(), "copies: 100", "copies: 1")); err != nil {
		t.Fatal(err)
	}
	w.eventually("reload", func() bool { return w.status(a).Config.Applied != applied })
	begin = time.Now()
	before := w.counted(a, 4500)
	sent := w.storm(w.guests[1], w.Hosts[1], 4500, 0, 500)
	w.eventually("the frames of the other host", func() bool {
		now := w.counted(a, 4500).since(before)
		return now.frames+now.cut >= sent.frames
	})
	now := w.counted(a, 4500).since(before)
	w.within("from another host", now.copies, 1, time.Since(begin), 2)
	if now.frames+now.cut != sent.frames || sent.frames < 2 || now.cut == 0 {
		t.Errorf("another host sent %d frames, and %d went through and %d were cut", sent.frames, now.frames, now.cut)
	}
	w.await(w.guests[1], toAll, now.frames, here)
	w.await(w.guests[1], toAll, sent.frames, there)
	w.clean()
}

// A reload changes limits at once: what is beyond the new ones is cut, what was
// beyond the old ones goes through, and what nobody limits loses nothing.
func TestLimitsChangeAtOnce(t *testing.T) {
	const low = "{broadcast: {copies: 1}}"
	w := newGoverned(t, map[string]string{"g1": low}, "")
	a := w.Hosts[0]
	others := []*lab.Capture{w.capture(w.guests[1]), w.capture(w.guests[2]), w.capture(w.guests[3])}
	f := w.flow()
	steady := w.steady(w.guests[2])

	// Its two copies fill the bucket for two seconds.
	c := w.storm(w.guests[0], a, 4500, 0, 100)
	if c.frames == 0 || c.cut == 0 {
		t.Errorf("at a copy a second: %+v", c)
	}
	through := c.frames
	for i, step := range []struct {
		limit string
		cut   bool
	}{
		{"{broadcast: {copies: 1000000000}}", false}, // raised
		{low, true}, // lowered
		{"", false}, // taken away
		{low, true}, // come anew
		{"{multicast: {copies: 1}}", false},
		{"{broadcast: {bytes: 1}}", true},
	} {
		w.limit("g1", step.limit)
		w.rewrite()
		c := w.storm(w.guests[0], a, 4500, uint32(i+1)*100, 100)
		if step.cut != (c.cut > 0) {
			t.Errorf("with the limit %q: %+v", step.limit, c)
		}
		through += c.frames
	}
	w.await(w.guests[0], toAll, through, others...)
	w.whole("reloads", f)
	w.await(w.guests[2], toGroup, steady(), others[0], others[2])
	w.clean()
}
