// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"overcast/policy"
)

// Devices that are ports or uplinks no more are as they were before, also
// after a restart, and whether the agent or unload gives them back.
func TestDevicesAreGivenBack(t *testing.T) {
	for _, by := range []string{"the agent", "unload"} {
		t.Run(by, func(t *testing.T) {
			enterNamespace(t)
			path, runDir := newPinPath(t), t.TempDir()
			mode := func() string {
				text, err := os.ReadFile(ipv6Setting("p1", "addr_gen_mode"))
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			expect := func(when, disabled string, merges bool) {
				t.Helper()
				if got := disabledIPv6(t, "p1"); got != disabled {
					t.Errorf("%s: disable_ipv6 is %s", when, got)
				}
				if on, err := groOn("u0"); err != nil || on != merges {
					t.Errorf("%s: GRO is %t, %v", when, on, err)
				}
			}
			first := running(t, path, DecapXDP, hasTCX(t))
			report := first.Report()
			if err := WriteReport(runDir, &report); err != nil {
				t.Fatal(err)
			}
			expect("as a port", "1", true)
			if mode() != "1\n" {
				t.Errorf("addr_gen_mode is %s", mode())
			}

			second := startDatapath(t, path, testLimits, &report)
			defer second.Close()
			second.opts.Decap = DecapXDP
			if err := second.Apply(testState()); err != nil {
				t.Fatal(err)
			}
			expect("after a restart", "1", true)
			if by == "the agent" {
				state := testState()
				state.Segments[0].Ports, state.Segments[0].FDB = nil, []policy.Entry{}
				second.opts.Decap = DecapTC
				if err := second.Apply(state); err != nil {
					t.Fatal(err)
				}
				if got := second.Report().Devices; len(got) != 0 {
					t.Errorf("still remembered: %+v", got)
				}
			} else if err := Unload(path, runDir); err != nil {
				t.Fatal(err)
			}
			expect("given back", "0", false)
			if mode() != "0\n" {
				t.Errorf("addr_gen_mode is %s", mode())
			}
			if err := Unload(path, runDir); err != nil {
				t.Error(err)
			}
		})
	}
}

// A first start that is given up gives the devices back too, though no report
// has told of them yet.
func TestAbandonGivesDevicesBack(t *testing.T) {
	enterNamespace(t)
	d := running(t, newPinPath(t), DecapXDP, hasTCX(t))
	if err := d.Abandon(); err != nil {
		t.Fatal(err)
	}
	if got := disabledIPv6(t, "p1"); got != "0" {
		t.Errorf("disable_ipv6 is %s", got)
	}
	if on, err := groOn("u0"); err != nil || on {
		t.Errorf("GRO is %t, %v", on, err)
	}
}

// What devices were like is on disk before it is told in a report: an agent
// that is killed in between loses nothing of it.
func TestFormerOutlivesKill(t *testing.T) {
	for _, by := range []string{"unload", "the next agent"} {
		t.Run(by, func(t *testing.T) {
			enterNamespace(t)
			path := newPinPath(t)
			first := running(t, path, DecapXDP, hasTCX(t))
			runDir := first.opts.RunDir
			if by == "unload" {
				if err := Unload(path, runDir); err != nil {
					t.Fatal(err)
				}
			} else {
				second, err := Start(first.opts, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer second.Close()
				if err := second.Apply(testState()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(first.Report().Devices, second.Report().Devices); diff != "" {
					t.Errorf("(-first +second):\n%s", diff)
				}
				if err := second.Abandon(); err != nil {
					t.Fatal(err)
				}
			}
			if got := disabledIPv6(t, "p1"); got != "0" {
				t.Errorf("disable_ipv6 is %s", got)
			}
			if on, err := groOn("u0"); err != nil || on {
				t.Errorf("GRO is %t, %v", on, err)
			}
			if _, err := os.Stat(formerPath(runDir)); !os.IsNotExist(err) {
				t.Errorf("the file is left: %v", err)
			}
		})
	}
}

// IPv6 that others switch on again goes off again, and what is off already is
// not written: that would be a change of the device, which is followed.
func TestSilence(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	d := running(t, path, DecapTC, hasTCX(t))
	before := d.Report().Devices
	if err := os.WriteFile(ipv6Setting("p1", "disable_ipv6"), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Refresh(); err != nil {
		t.Error(err)
	}
	if got := disabledIPv6(t, "p1"); got != "1" {
		t.Errorf("disable_ipv6 is %s", got)
	}
	if diff := cmp.Diff(before, d.Report().Devices); diff != "" {
		t.Errorf("remembered (-before +after):\n%s", diff)
	}
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribe(updates, t.Context().Done()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := silence(mustLink(t, "p1")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case update := <-updates:
		t.Errorf("a device that is silent already changed: %+v", update.Attrs())
	case <-time.After(100 * time.Millisecond):
	}
	if err := Unload(path, d.opts.RunDir); err != nil {
		t.Error(err)
	}
}
