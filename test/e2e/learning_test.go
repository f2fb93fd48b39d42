// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"overcast/maps"
	"overcast/test/lab"
)

// fdbRow is a row of `overcast fdb`.
type fdbRow struct {
	Segment, MAC, Source, Kind, Where string
}

func (w *world) fdb(h *lab.Host) []fdbRow {
	w.t.Helper()
	var rows []fdbRow
	w.cli(h, "fdb", &rows)
	return rows
}

// where says where a host has a MAC, as "learned shop/lan/g1" or "static host-b".
func (w *world) where(h *lab.Host, mac string) string {
	w.t.Helper()
	for _, row := range w.fdb(h) {
		if row.MAC == mac {
			return row.Source + " " + row.Where
		}
	}
	return "nowhere"
}

// learned checks where a host has learned a MAC.
func (w *world) learned(h *lab.Host, mac, where string) {
	w.t.Helper()
	if got := w.where(h, mac); got != "learned "+where {
		w.t.Errorf("%s has %s %s, should have learned it behind %s", h.Name, mac, got, where)
	}
}

// newLearning builds a world whose ports have no configured MAC.
func newLearning(t *testing.T, decap string) *world {
	t.Helper()
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t, flags: []string{"--decap", decap}}
	w.segment = "        learning: true\n        unknown_unicast: flood\n"
	for i, h := range []*lab.Host{w.Hosts[0], w.Hosts[1], w.Hosts[0]} {
		g := w.addGuest(h, fmt.Sprintf("g%d", i+1), lab.GuestOptions{})
		w.ports[i] = fmt.Sprintf("{name: %s, host: %s, interface: %s}", g.Name, h.Name, g.Port)
	}
	t.Cleanup(w.explain)
	w.start()
	return w
}

// MACs are learned behind ports and remotes; a MAC that moves to another host
// is followed with its first frame.
func TestLearning(t *testing.T) {
	for _, decap := range []string{"xdp", "tc", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := newLearning(t, decap)
			a, b := w.Hosts[0], w.Hosts[1]
			w.ping(w.guests[0], "2001:45::2")
			w.ping(w.guests[0], "2001:45::3")
			w.learned(a, w.guests[0].MAC, "shop/lan/g1")
			w.learned(a, w.guests[1].MAC, "host-b")
			w.learned(b, w.guests[0].MAC, "host-a")
			w.learned(b, w.guests[1].MAC, "shop/lan/g2")

			// A station moves from g1's port to g2's.
			const station = "02:00:00:00:00:99"
			hello := frame("ff:ff:ff:ff:ff:ff", station, 0x88, 0xb5, 'h', 'i')
			for _, move := range []struct {
				to           *lab.Guest
				onA, onB     string
				reached, not *lab.Guest
			}{
				{w.guests[0], "shop/lan/g1", "host-a", w.guests[0], w.guests[1]},
				{w.guests[1], "host-b", "shop/lan/g2", w.guests[1], w.guests[0]},
				{w.guests[0], "shop/lan/g1", "host-a", w.guests[0], w.guests[1]},
			} {
				if err := move.to.SendFrame(lab.GuestDevice, hello); err != nil {
					t.Fatal(err)
				}
				w.eventually("the station behind "+move.to.Name, func() bool {
					return w.where(a, station) == "learned "+move.onA && w.where(b, station) == "learned "+move.onB
				})
				reached, not := w.capture(move.reached), w.capture(move.not)
				answer := frame(station, w.guests[2].MAC, append([]byte{0x88, 0xb5}, move.to.Name...)...)
				if err := w.guests[2].SendFrame(lab.GuestDevice, answer); err != nil {
					t.Fatal(err)
				}
				if err := reached.Await(answer); err != nil {
					t.Error(err)
				}
				if not.Count(answer) > 0 {
					t.Errorf("%s has a frame for a station that it does not have", move.not.Name)
				}
				reached.Stop()
				not.Stop()
			}
			w.clean()
		})
	}
}

// A learned MAC that has not been seen for five minutes is unknown again: its
// frames are flooded, even before the agent has swept it out.
func TestAgeing(t *testing.T) {
	w := newLearning(t, "auto")
	w.ping(w.guests[0], "2001:45::2")
	const station = "02:00:00:00:00:99"
	if err := w.guests[1].SendFrame(lab.GuestDevice, frame("ff:ff:ff:ff:ff:ff", station, 0x88, 0xb5)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the station", func() bool { return w.where(w.Hosts[0], station) == "learned host-b" })
	neighbour := w.capture(w.guests[0])
	far := w.capture(w.guests[1])
	send := func(text string) []byte {
		f := frame(station, w.guests[2].MAC, append([]byte{0x88, 0xb5}, text...)...)
		if err := w.guests[2].SendFrame(lab.GuestDevice, f); err != nil {
			t.Fatal(err)
		}
		if err := far.Await(f); err != nil {
			t.Error(err)
		}
		return f
	}
	if f := send("fresh"); neighbour.Count(f) > 0 {
		t.Error("a frame for a known station was flooded")
	}
	w.age(w.Hosts[0], station, maps.LearnedAge+time.Second)
	if got := w.where(w.Hosts[0], station); got != "nowhere" {
		t.Errorf("the aged station is shown as %s", got)
	}
	if err := neighbour.Await(send("aged")); err != nil {
		t.Error(err)
	}
}

// age makes a learned MAC older than it is.
func (w *world) age(h *lab.Host, mac string, by time.Duration) {
	w.t.Helper()
	set, err := maps.Open(h.PinPath)
	if err != nil {
		w.t.Fatal(err)
	}
	defer set.Close()
	entries, err := set.LearnedEntries()
	if err != nil {
		w.t.Fatal(err)
	}
	wanted, err := net.ParseMAC(mac)
	if err != nil {
		w.t.Fatal(err)
	}
	for key, entry := range entries {
		if string(key.Mac[:]) != string(wanted) {
			continue
		}
		entry.Seen -= uint64(by)
		if err := set.Learned.Put(&key, &entry); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.t.Fatalf("%s is not learned", mac)
}

// A port may send from its own MAC and its extra ones; with `any`, from any
// that is not configured elsewhere, and answers find their way back to it.
func TestSourceMACs(t *testing.T) {
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t}
	const extra, stray = "02:00:00:00:00:51", "02:00:00:00:00:52"
	w.segment = "        learning: true\n"
	for i, more := range []string{"", `, extra_macs: ["` + extra + `"]`, ", extra_macs: any"} {
		g := w.addGuest(w.Hosts[0], fmt.Sprintf("g%d", i+1), lab.GuestOptions{})
		w.ports[i] = fmt.Sprintf("{name: %s, host: host-a, interface: %s, mac: %q%s}", g.Name, g.Port, g.MAC, more)
	}
	peer := w.addGuest(w.Hosts[1], "peer", lab.GuestOptions{})
	t.Cleanup(w.explain)
	w.start()
	w.ping(w.guests[0], "2001:45::4")

	seen := w.capture(peer)
	spoofed := uint64(0)
	for i, c := range []struct {
		from   *lab.Guest
		source string
		passes bool
	}{
		{w.guests[0], w.guests[0].MAC, true},
		{w.guests[0], extra, false},
		{w.guests[0], stray, false},
		{w.guests[0], peer.MAC, false},
		{w.guests[1], w.guests[1].MAC, true},
		{w.guests[1], extra, true},
		{w.guests[1], stray, false},
		{w.guests[1], w.guests[0].MAC, false},
		{w.guests[2], w.guests[2].MAC, true},
		{w.guests[2], stray, true},
		{w.guests[2], extra, false},
		{w.guests[2], peer.MAC, false},
		{w.guests[2], w.guests[0].MAC, false},
	} {
		for _, dst := range []string{peer.MAC, "ff:ff:ff:ff:ff:ff"} {
			f := frame(dst, c.source, append([]byte{0x88, 0xb5}, byte(i))...)
			if err := c.from.SendFrame(lab.GuestDevice, f); err != nil {
				t.Fatal(err)
			}
			if c.passes {
				if err := seen.Await(f); err != nil {
					t.Errorf("%s from %s: %v", c.source, c.from.Name, err)
				}
				continue
			}
			spoofed++
			w.eventually("the drop", func() bool { return w.drops(w.Hosts[0])["DROP_PORT_SPOOF"] >= spoofed })
			if seen.Count(f) > 0 {
				t.Errorf("%s from %s passed", c.source, c.from.Name)
			}
		}
	}
	if drops := w.drops(w.Hosts[0]); drops["DROP_PORT_SPOOF"] != spoofed || len(drops) != 1 {
		t.Errorf("dropped %v, should be %d DROP_PORT_SPOOF", drops, spoofed)
	}

	for mac, at := range map[string]*lab.Guest{extra: w.guests[1], stray: w.guests[2]} {
		c := w.capture(at)
		f := frame(mac, peer.MAC, 0x88, 0xb5, 'b', 'a', 'c', 'k')
		if err := peer.SendFrame(lab.GuestDevice, f); err != nil {
			t.Fatal(err)
		}
		if err := c.Await(f); err != nil {
			t.Errorf("%s behind %s: %v", mac, at.Name, err)
		}
	}
}
