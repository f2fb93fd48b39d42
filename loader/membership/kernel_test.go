// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// kernelHost is a device of which the kernel's own IP stack is one end, and a
// socket is at the other.
type kernelHost struct {
	t       *testing.T
	ifindex int
	raw     int
	told    []string // what the kernel has sent, as describe has it
}

// enterNamespace moves the test into a network namespace of its own, without a
// name, which ends with it.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := netns.New() // and enters it
	if err != nil {
		t.Fatalf("network namespace (root is needed): %v", err)
	}
	t.Cleanup(func() {
		inside.Close()
		defer before.Close()
		if err := netns.Set(before); err != nil {
			t.Error(err) // and the thread, still locked, ends with the test
			return
		}
		runtime.UnlockOSThread()
	})
}

// newKernelHost makes one, in a network namespace of the test's own.
func newKernelHost(t *testing.T) *kernelHost {
	t.Helper()
	enterNamespace(t)
	// The address must be there when the first socket joins.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "k0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "k1"}); err != nil {
		t.Fatal(err)
	}
	h := &kernelHost{t: t}
	other := 0
	for _, name := range []string{"k1", "k0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "k1" {
			// Or its stack would answer too.
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/k1/disable_ipv6", []byte("1"), 0o644); err != nil {
				t.Fatal(err)
			}
			other = link.Attrs().Index
		} else {
			h.ifindex = link.Attrs().Index
			address, err := netlink.ParseAddr("10.9.0.2/24")
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.AddrAdd(link, address); err != nil {
				t.Fatal(err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	var err error
	if h.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(h.raw) })
	if err := unix.Bind(h.raw, &unix.SockaddrLinklayer{Protocol: all, Ifindex: other}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(h.raw, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}); err != nil {
		t.Fatal(err)
	}
	return h
}

// send puts a message onto the wire.
func (h *kernelHost) send(msg Message) {
	h.t.Helper()
	if _, err := unix.Write(h.raw, Build(&msg)); err != nil {
		h.t.Fatal(err)
	}
}

// wait reads what the kernel sends until a line with these parts is among it.
// Whatever carries membership must be readable.
func (h *kernelHost) wait(what string, parts ...string) {
	h.t.Helper()
	h.told = nil
	buffer := make([]byte, 1<<16)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(h.raw, buffer, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			h.t.Fatal(err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		msg, err := Parse(bytes.Clone(buffer[:n]))
		if err != nil {
			if CauseOf(err) != Unrelated {
				h.t.Fatalf("%v: %x", err, buffer[:n])
			}
			continue
		}
		if len(msg.Records) == 0 {
			h.told = append(h.told, describe(msg))
		}
		for _, r := range msg.Records {
			h.told = append(h.told, describe(&Message{Kind: Report, Family: msg.Family, Version: msg.Version, Records: []Record{r}}))
		}
		for _, line := range h.told {
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, part)
			}
			if found {
				return
			}
		}
	}
	h.t.Fatalf("%s: the kernel has not told %q but\n\t%s", what, parts, strings.Join(h.told, "\n\t"))
}

// membership changes what a socket wants; a source may be missing.
func (h *kernelHost) membership(socket, option int, group, source string) {
	h.t.Helper()
	// struct group_source_req: an index, and two struct sockaddr_storage.
	request := make([]byte, 8+128+128)
	binary.NativeEndian.PutUint32(request, uint32(h.ifindex))
	level := unix.SOL_IP
	for i, text := range []string{group, source} {
		if text == "" {
			request = request[:8+128]
			continue
		}
		a, at := netip.MustParseAddr(text), request[8+128*i:]
		if a.Is4() {
			binary.NativeEndian.PutUint16(at, unix.AF_INET)
			copy(at[4:], a.AsSlice())
		} else {
			level = unix.SOL_IPV6
			binary.NativeEndian.PutUint16(at, unix.AF_INET6)
			copy(at[8:], a.AsSlice())
		}
	}
	if err := unix.SetsockoptString(socket, level, option, string(request)); err != nil {
		h.t.Fatal(err)
	}
}

// The kernel's stack is a listener: what it sends is read, and what we ask it
// understands, in every version.
func TestKernelListener(t *testing.T) {
	const ( // linux/in.h, of which x/sys has but some
		joinGroup, leaveGroup             = 42, 45
		joinSourceGroup, leaveSourceGroup = 46, 47
	)
	for _, f := range Families {
		t.Run(f.String(), func(t *testing.T) {
			h := newKernelHost(t)
			domain, group, only, a := unix.AF_INET, "239.1.2.3", "232.1.2.3", "10.1.0.1"
			if f == IPv6 {
				domain, group, only, a = unix.AF_INET6, "ff0e::1234", "ff3e::1234", "2001:db8::1"
			}
			socket, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(socket)
			record := func(kind RecordType, group, sources string) string {
				return fmt.Sprintf("report %s %s {%s}", kind, group, sources)
			}
			h.membership(socket, joinGroup, group, "")
			h.wait("a join", record(ChangeToExclude, group, ""))
			h.membership(socket, joinSourceGroup, only, a)
			h.wait("a join of a source", only, a)

			// As a port is asked: of IPv4 without an address.
			question := func(version int) Message {
				ask := from(Query, f, version)
				if f == IPv4 {
					ask.Source = netip.IPv4Unspecified()
				}
				return ask
			}
			ask := question(newest(f))
			ask.MaxResponse, ask.Robustness, ask.QueryInterval = time.Second, 2, 125*time.Second
			h.send(ask)
			h.wait("a general query", record(ModeIsExclude, group, ""))
			h.send(ask)
			h.wait("a general query", record(ModeIsInclude, only, a))
			ask.Group = addr(group)
			h.send(ask)
			h.wait("a group query", record(ModeIsExclude, group, ""))
			ask.Group, ask.Sources = addr(only), addrs("10.1.0.9", a)
			if f == IPv6 {
				ask.Sources[0] = addr("2001:db8::9")
			}
			h.send(ask)
			h.wait("a source query", record(ModeIsInclude, only, a))
			h.membership(socket, leaveSourceGroup, only, a)
			h.wait("a leave of a source", record(BlockOldSources, only, a))
			h.membership(socket, leaveGroup, group, "")
			h.wait("a leave", record(ChangeToInclude, group, ""))

			h.membership(socket, joinGroup, group, "")
			h.wait("a join", record(ChangeToExclude, group, ""))
			for version := newest(f) - 1; version > 0; version-- {
				ask := question(version)
				ask.MaxResponse = time.Second
				h.send(ask)
				h.wait("an older query", fmt.Sprintf("report v%d %s", version, group))
			}
			if f == IPv6 {
				h.membership(socket, leaveGroup, group, "")
				h.wait("an older leave", "leave v1 "+group)
			}
		})
	}
}

// The kernel's bridge, which a foreign remote is, takes our reports for
// listeners, our queries and advertisements for those of a router.
func TestKernelBridge(t *testing.T) {
	for _, f := range Families {
		t.Run(f.String(), func(t *testing.T) { tellBridge(t, f) })
	}
}

// tellBridge sends what a foreign remote gets, of one family, to a bridge.
func tellBridge(t *testing.T, f Family) {
	enterNamespace(t)
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	ip("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "1", "mcast_igmp_version", "3", "mcast_mld_version", "2")
	sockets := make(map[string]int)
	for _, name := range []string{"r0", "r1", "r2"} {
		ip("ip", "link", "add", name, "type", "veth", "peer", "name", "x"+name)
		ip("ip", "link", "set", name, "master", "br0", "up")
		ip("ip", "link", "set", "x"+name, "up")
		link, err := netlink.LinkByName("x" + name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(raw)
		if err := unix.Bind(raw, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}); err != nil {
			t.Fatal(err)
		}
		sockets[name] = raw
	}
	ip("ip", "link", "set", "br0", "up")
	waitFor := func(what string, args []string, meanwhile func(), parts ...string) {
		t.Helper()
		var out string
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if meanwhile != nil {
				meanwhile()
			}
			out = ip(args...)
			for _, line := range strings.Split(out, "\n") {
				found := true
				for _, part := range parts {
					found = found && strings.Contains(line, part)
				}
				if found {
					return
				}
			}
		}
		t.Fatalf("%s: no line with %q in\n%s", what, parts, out)
	}
	// A port learns once it forwards, and that is later than it is up.
	for name := range sockets {
		waitFor("a port that forwards", []string{"bridge", "link", "show", "dev", name}, nil, "state forwarding")
	}
	r := fresh(t, testConfig(), port1, foreign1)
	// outgoing is what the remote is sent, of the family.
	outgoing := func() (frames [][]byte) {
		t.Helper()
		for _, s := range r.Outbox() {
			msg, err := Parse(s.Frame)
			if err != nil {
				t.Fatal(err)
			}
			if msg.Family != f || !slices.Contains(s.To, foreign1) {
				continue
			}
			frames = append(frames, s.Frame)
		}
		if len(frames) == 0 {
			t.Fatal("nothing is sent")
		}
		return frames
	}
	put := func(name string, frames [][]byte) {
		t.Helper()
		for _, frame := range frames {
			if _, err := unix.Write(sockets[name], frame); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries := []string{"bridge", "-d", "-s", "mdb", "show", "dev", "br0"}
	r.Advance(r.now) // asks it
	query := outgoing()
	// A bridge minds no query before the timer has run that it starts when it
	// comes up (br_multicast_select_querier in net/bridge/br_multicast.c).
	waitFor("our query", entries, func() { put("r0", query) }, "router ports on br0: r0")
	group, only, a := "239.1.2.3", "232.1.2.3", "10.1.0.1"
	if f == IPv6 {
		group, only, a = "ff0e::1234", "ff3e::1234", "2001:db8::1"
	}
	r.report(port1, rec(ModeIsExclude, group), rec(ChangeToInclude, only, a))
	r.pass(10 * time.Millisecond)
	put("r1", outgoing())
	waitFor("a report", entries, nil, "port r1", "grp "+group, "filter_mode exclude")
	waitFor("a report of a source", entries, nil, "port r1", "grp "+only, "src "+a)
	r.advertise(f, []Member{foreign1})
	put("r2", outgoing())
	waitFor("our advertisement", entries, nil, "router ports on br0: r2")
	if out := ip(entries...); strings.Contains(out, "br0: r1") {
		t.Errorf("reports make a router:\n%s", out)
	}
}
