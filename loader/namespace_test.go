// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// enterNamespace moves the test into a network namespace of its own, without a
// name, which ends with it. Goroutines that it starts are not there.
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

// newPinPath returns a folder for pins that is this test's alone. It is not
// there yet, and it and what is in it go at the end.
func newPinPath(t *testing.T) string {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	if err := ensureBPFFS(filepath.Join(defaultBPFFS, "x")); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(defaultBPFFS, "oc-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "pins")
}

// addDevice makes an Ethernet device that goes nowhere, up: one end of a pair.
// Not every kernel has dummy devices.
func addDevice(t *testing.T, name string, mtu int, addrs ...string) netlink.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	return addPair(t, attrs, addrs...)
}

func addPair(t *testing.T, attrs netlink.LinkAttrs, addrs ...string) netlink.Link {
	t.Helper()
	peer := "x" + attrs.Name[1:]
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		t.Fatal(err)
	}
	linkUp(t, peer)
	link := linkUp(t, attrs.Name)
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatal(err)
		}
	}
	return link
}

func linkUp(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func addNeighbour(t *testing.T, link netlink.Link, ip, mac string) {
	t.Helper()
	hardware, err := net.ParseMAC(mac)
	if err == nil {
		err = netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: net.ParseIP(ip), HardwareAddr: hardware, State: netlink.NUD_PERMANENT})
	}
	if err != nil {
		t.Fatal(err)
	}
}
