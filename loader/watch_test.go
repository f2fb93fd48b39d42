// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// patience only ends a test that has failed.
const patience = 20 * time.Second

// await waits for a change of a kind; others may come with it.
func await(t *testing.T, w *Watcher, kind Change, what string) {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case change := <-w.C:
			if change&kind != 0 {
				return
			}
		case <-timeout:
			t.Fatalf("nothing told of %s", what)
		}
	}
}

func TestWatch(t *testing.T) {
	enterNamespace(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	device := addDevice(t, "d0", 1500)
	w, err := Watch(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.Follow([]string{"d0", "late"}, nil)
	if err := netlink.LinkSetMTU(device, 1400); err != nil {
		t.Fatal(err)
	}
	await(t, w, ChangeLinks, "an MTU")
	addDevice(t, "late", 1500)
	await(t, w, ChangeLinks, "a device that came")
	addr, err := netlink.ParseAddr("192.0.2.1/24")
	if err == nil {
		err = netlink.AddrAdd(device, addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	await(t, w, ChangePaths, "an address")
	addNeighbour(t, device, "192.0.2.2", "02:00:00:00:00:02")
	await(t, w, ChangePaths, "a neighbour")
	// One that is renamed shows its new name only.
	w.Follow(nil, []uint32{uint32(device.Attrs().Index)})
	if err := netlink.LinkSetDown(device); err != nil {
		t.Fatal(err)
	}
	await(t, w, ChangeLinks, "a device that was set down")
	if err := netlink.LinkSetName(device, "other"); err != nil {
		t.Fatal(err)
	}
	await(t, w, ChangeLinks, "a device that was renamed")
	if err := netlink.LinkDel(device); err != nil {
		t.Fatal(err)
	}
	await(t, w, ChangeLinks, "a device that went")
}

// The devices that are followed are those that were named last.
func TestFollow(t *testing.T) {
	w := &Watcher{}
	if w.follows("d0", 1) {
		t.Error("followed before it was named")
	}
	w.Follow([]string{"d0", "d1"}, []uint32{1, 2})
	w.Follow([]string{"d1"}, []uint32{2})
	if w.follows("d0", 1) || !w.follows("d1", 7) {
		t.Error("the last names are those that count")
	}
	// One that is renamed is told by its number.
	if !w.follows("other", 2) {
		t.Error("a device that is known by its number is not followed")
	}
}

// Changes that nobody has taken yet add up, and none is lost.
func TestGather(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	raw, out := make(chan Change), make(chan Change)
	go gather(ctx, raw, out)
	raw <- ChangeLinks
	raw <- ChangePaths
	raw <- ChangePaths
	var got Change
	for timeout := time.After(patience); got != ChangeLinks|ChangePaths; {
		select {
		case change := <-out:
			got |= change
		case <-timeout:
			t.Fatalf("got %b, want both kinds", got)
		}
	}
}

// A round of subscriptions leaves nothing behind, though nobody has read what
// they had to tell.
func TestRoundEnds(t *testing.T) {
	enterNamespace(t)
	device := addDevice(t, "d0", 1500)
	sockets := func() int {
		files, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, file := range files {
			if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, "socket:") {
				n++
			}
		}
		return n
	}
	settled := func(count func() int, want int, what string) {
		t.Helper()
		for deadline := time.Now().Add(patience); count() > want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d %s, and %d before", count(), what, want)
			}
		}
	}
	goroutines, open := runtime.NumGoroutine(), sockets()
	for range 3 {
		r, err := subscribe(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 { // more than the channels hold
			if err := netlink.LinkSetMTU(device, 1400+i); err != nil {
				t.Fatal(err)
			}
			addNeighbour(t, device, fmt.Sprintf("192.0.2.%d", i), "02:00:00:00:00:02")
		}
		r.end()
	}
	settled(runtime.NumGoroutine, goroutines, "goroutines")
	settled(sockets, open, "sockets")
}
