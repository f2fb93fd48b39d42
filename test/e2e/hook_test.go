// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"overcast/test/lab"
)

// The status says by what the programs are attached: tcx where the kernel has
// it, clsact elsewhere. What the kernel has is tried, not looked up.
func TestHook(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	want := "clsact"
	err = w.Hosts[0].Do(func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: program, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			want = "tcx"
			return l.Close()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range w.Hosts {
		got := w.status(h).Attach
		t.Logf("%s: attached by %s", h.Name, got)
		if got != want {
			t.Errorf("%s says %s, and the kernel has %s", h.Name, got, want)
		}
	}
}
