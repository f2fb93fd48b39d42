// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// What the probe says of tcx is what happens at a real device.
func TestProbe(t *testing.T) {
	enterNamespace(t)
	features, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	device := addDevice(t, "d0", 1500)
	real, err := link.AttachTCX(link.TCXOptions{Interface: device.Attrs().Index, Program: newProgram(t, ebpf.SchedCLS), Attach: ebpf.AttachTCXIngress})
	if err == nil {
		real.Close()
	}
	if features.TCX != (err == nil) {
		t.Errorf("the probe says tcx is %t, attaching says %v", features.TCX, err)
	}
	if again, err := Probe(); err != nil || again != features {
		t.Errorf("probed again: %+v, %v", again, err)
	}
}

func TestParseDecap(t *testing.T) {
	for _, word := range []string{"auto", "xdp", "tc", "kernel"} {
		if got, err := ParseDecap(word); err != nil || string(got) != word {
			t.Errorf("%s: got %s, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "XDP", "generic", "tc "} {
		if _, err := ParseDecap(word); err == nil || !strings.HasSuffix(err.Error(), ": want auto, xdp, tc or kernel") {
			t.Errorf("%q: got %v", word, err)
		}
	}
}

func TestGRO(t *testing.T) {
	enterNamespace(t)
	addDevice(t, "v0", 1500)
	if on, err := groOn("v0"); err != nil || on {
		t.Fatalf("GRO of a new veth is %t, %v; the test wants it off", on, err)
	}
	if err := setGRO("v0", true); err != nil {
		t.Fatal(err)
	}
	if on, err := groOn("v0"); err != nil || !on {
		t.Errorf("GRO is %t, %v after it was switched on", on, err)
	}
	if on, err := groOn("x0"); err != nil || on {
		t.Errorf("GRO of the other end is %t, %v", on, err)
	}
	if _, err := groOn("missing"); err == nil || !strings.Contains(err.Error(), "ethtool on missing: ") {
		t.Errorf("got %v, want an error that names the device", err)
	}
	// 15 bytes are the longest name; nothing of it may be cut off.
	addDevice(t, "fifteen-letters", 1500)
	if _, err := groOn("fifteen-letters"); err != nil {
		t.Error(err)
	}
}

func TestLastLine(t *testing.T) {
	for text, want := range map[string]string{"a: b: no XDP": "no XDP", "alone": "alone"} {
		if got := lastLine(testError(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

type testError string

func (e testError) Error() string { return string(e) }

func TestChooseDecap(t *testing.T) {
	nic := device{ifindex: 9, ethernet: true, mtu: 9001, up: true}
	smaller, down := nic, nic
	smaller.mtu, down.up = 3498, false
	long := nic
	long.ifindex = 8
	d := &Datapath{refused: map[uint32]refusal{9: {nic, "operation not supported", time.Now()}, 8: {long, "no memory", time.Now().Add(-refusalLasts)}}}
	for name, c := range map[string]struct {
		device device
		want   Decap
		reason string
	}{
		"a NIC":            {device{ifindex: 1, ethernet: true}, DecapXDP, "the driver has native XDP"},
		"a veth":           {device{ifindex: 1, ethernet: true, kind: "veth"}, DecapTC, "a veth: native XDP would turn off its peer's super-frames"},
		"no Ethernet":      {device{ifindex: 1, kind: "wireguard"}, DecapTC, "no Ethernet header, so the kernel's tunnel device strips"},
		"one that refused": {nic, DecapTC, "no native XDP: operation not supported"},
		"another MTU":      {smaller, DecapXDP, "the driver has native XDP"},
		"set down":         {down, DecapXDP, "the driver has native XDP"},
		"long ago":         {long, DecapXDP, "the driver has native XDP"},
	} {
		if got, reason := d.chooseDecap(c.device); got != c.want || reason != c.reason {
			t.Errorf("%s: got %s, %q", name, got, reason)
		}
	}
}

func TestVersion(t *testing.T) {
	if Version() == "" {
		t.Error("no version")
	}
}
