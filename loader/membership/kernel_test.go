// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
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

// newKernelHost makes one, in a network namespace of the test's own.
func newKernelHost(t *testing.T) *kernelHost {
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
