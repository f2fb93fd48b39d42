// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"os"
	"testing"

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
