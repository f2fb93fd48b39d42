// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"overcast/loader/membership"
	"overcast/test/lab"
)

// shownName is a port, remote or host as `overcast groups` shows it.
type shownName struct{ Kind, Where string }

// shownGroup is a row of `overcast groups`.
type shownGroup struct {
	Group, Source, Flooded string
	Ports, Remotes         []string
	Members                []struct {
		shownName
		Mode      string
		Until     *time.Time
		Version   int
		Sources   []struct{ Address netip.Addr }
		Reporters []struct {
			MAC     string
			Address netip.Addr
			Seen    time.Time
		}
	}
}

// shownSegment is a row of its second list.
type shownSegment struct {
	Family  string
	MDB     string
	Querier *struct {
		shownName
		Address string
		Version int
	}
	Everything []struct {
		shownName
		Reasons []string
	}
}

// shown is what `overcast groups` shows on a host.
func (w *world) shown(h *lab.Host) (groups []shownGroup, segments []shownSegment) {
	w.t.Helper()
	out := w.run(h.Namespace, overcast, "groups", "-o", "json", "--pin-path", h.PinPath, "--run-dir", h.RunDir)
	document := struct {
		Groups   *[]shownGroup
		Segments *[]shownSegment
	}{&groups, &segments}
	if err := json.Unmarshal([]byte(out), &document); err != nil {
		w.t.Fatalf("overcast groups: %v\n%s", err, out)
	}
	return groups, segments
}

// shows waits until a host shows that a group goes to these ports and remotes,
// as "[ports] [remotes]", and who asked for it, which the agent tells within a
// second; empty: it has no row.
func (w *world) shows(h *lab.Host, group, source, want string) (row shownGroup) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s: %s from %s goes to %q", h.Name, group, source, want), func() bool {
		groups, _ := w.shown(h)
		at := slices.IndexFunc(groups, func(g shownGroup) bool { return g.Group == group && g.Source == source })
		if at < 0 {
			return want == ""
		}
		row = groups[at]
		return row.Flooded == "" && len(row.Members) > 0 && fmt.Sprint(row.Ports, row.Remotes) == want
	})
	return row
}

// settled waits until a host believes its MDB and no member of the family gets
// everything but these, as "where [reasons]".
func (w *world) settled(h *lab.Host, family, mdb string, everything ...string) (row shownSegment) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s: the MDB for %s is %s and everything goes to %q", h.Name, family, mdb, everything), func() bool {
		_, segments := w.shown(h)
		at := slices.IndexFunc(segments, func(s shownSegment) bool { return s.Family == family })
		if at < 0 {
			return false
		}
		row = segments[at]
		var got []string
		for _, m := range row.Everything {
			got = append(got, fmt.Sprint(m.Where, m.Reasons))
		}
		return row.MDB == mdb && slices.Equal(got, everything)
	})
	return row
}

// Whoever asks where a group goes, and why, finds out: `overcast groups` shows
// who joined, by whom that was told and how long it holds, and for each member
// that gets everything the reason.
func TestGroupsAreShown(t *testing.T) {
	t.Parallel()
	w := &world{Lab: lab.NewTest(t, lab.Options{Hosts: 2}), t: t, segment: "        multicast: {query_interval: 1s, query_response_interval: 200ms}\n"}
	here, there := w.Hosts[0], w.Hosts[1]
	router := w.addGuest(here, "g1", lab.GuestOptions{})
	listener := w.addGuest(there, "g2", lab.GuestOptions{})
	t.Cleanup(w.explain)
	w.start()
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, h := range w.Hosts {
			// The maps are ahead of the report by up to a second.
			w.eventually(h.Name+": it is the querier for "+family+" itself", func() bool {
				row := w.settled(h, family, "current")
				return row.Querier != nil && row.Querier.Where == h.Name && row.Querier.Kind == "host"
			})
		}
	}

	video, feed, source := netip.MustParseAddr("ff05::45"), netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("10.9.0.1")
	any := w.open(listener, video)
	if err := any.Join(); err != nil {
		t.Fatal(err)
	}
	one := w.open(listener, feed)
	if err := one.JoinSource(source); err != nil {
		t.Fatal(err)
	}
	row := w.shows(there, "ff05::45", "*", "[shop/lan/g2] []")
	if len(row.Members) != 1 || row.Members[0].shownName != (shownName{"port", "shop/lan/g2"}) || row.Members[0].Mode != "exclude" || row.Members[0].Version != 2 {
		t.Fatalf("%s: members %+v", there.Name, row.Members)
	}
	told := row.Members[0]
	if told.Until == nil || told.Until.Before(time.Now().Add(-time.Minute)) || told.Until.After(time.Now().Add(time.Minute)) {
		t.Errorf("it lasts until %v, want some seconds from now", told.Until)
	}
	if len(told.Reporters) != 1 || told.Reporters[0].MAC != listener.MAC || !told.Reporters[0].Address.IsLinkLocalUnicast() || time.Since(told.Reporters[0].Seen) > time.Minute {
		t.Errorf("reporters %+v, want the guest %s", told.Reporters, listener.MAC)
	}
	w.shows(there, "239.1.1.1", "10.9.0.1", "[shop/lan/g2] []")
	w.shows(there, "239.1.1.1", "*", "[] []")
	row = w.shows(here, "ff05::45", "*", "[] [host-b]")
	if len(row.Members) != 1 || row.Members[0].shownName != (shownName{"remote", "host-b"}) || len(row.Members[0].Reporters) != 1 {
		t.Errorf("%s: members %+v", here.Name, row.Members)
	}
	row = w.shows(here, "239.1.1.1", "10.9.0.1", "[] [host-b]")
	if len(row.Members) != 1 || len(row.Members[0].Sources) != 1 || row.Members[0].Sources[0].Address != source {
		t.Errorf("%s: members of the source %+v", here.Name, row.Members)
	}

	// A router in a guest is heard on both hosts, and asks in the place of them.
	silence := w.ask(router, "fe80::1")
	shown := w.settled(here, "IPv6", "current", "shop/lan/g1[router]")
	if shown.Querier == nil || shown.Querier.shownName != (shownName{"port", "shop/lan/g1"}) || shown.Querier.Address != "fe80::1" {
		t.Errorf("%s: the querier is %+v, want the router", here.Name, shown.Querier)
	}
	w.shows(here, "ff05::45", "*", "[shop/lan/g1] [host-b]")
	w.settled(there, "IPv6", "current", "host-a[router]")
	silence()
	w.settled(here, "IPv6", "current")
	w.settled(there, "IPv6", "current")

	// What nobody wants any more has no row.
	if err := any.Leave(); err != nil {
		t.Fatal(err)
	}
	w.shows(there, "ff05::45", "*", "")
	w.shows(here, "ff05::45", "*", "")

	// An agent that is gone: after a while others send its host everything, and
	// its own programs flood.
	w.agents[1].Kill()
	w.settled(here, "IPv6", "current", "host-b[unsure]")
	w.eventually("the MDB without an agent is over", func() bool {
		_, segments := w.shown(there)
		return segments[1].MDB == "expired" || segments[1].MDB == "missed"
	})
	w.agents[1] = w.startAgent(there)
	w.settled(there, "IPv6", "current")
	w.settled(here, "IPv6", "current")
}

// ask makes a guest a querier for IPv6, with this address, until that is ended.
func (w *world) ask(g *lab.Guest, address string) (end func()) {
	w.t.Helper()
	mac, err := net.ParseMAC(g.MAC)
	if err != nil {
		w.t.Fatal(err)
	}
	query := membership.Build(&membership.Message{Kind: membership.Query, Family: membership.IPv6, Version: 2, SourceMAC: membership.MAC(mac),
		Source: netip.MustParseAddr(address), MaxResponse: 200 * time.Millisecond, Robustness: 2, QueryInterval: time.Second})
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := g.SendFrame(lab.GuestDevice, query); err != nil {
				done <- err
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	end = sync.OnceFunc(func() {
		close(stop)
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(end)
	return end
}

// open opens a receiver of a guest for a group.
func (w *world) open(g *lab.Guest, group netip.Addr) *lab.Receiver {
	w.t.Helper()
	r, err := g.OpenReceiver(netip.AddrPortFrom(group, 5000))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}
