// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Features is what this kernel can do, found by trying it and never guessed
// from its version.
type Features struct {
	TCX        bool `json:"tcx"`         // 6.6; else clsact
	DecapFlags bool `json:"decap_flags"` // BPF_F_ADJ_ROOM_DECAP_L3_*, 6.3
}

// Probe finds the features once per process.
var Probe = sync.OnceValues(func() (Features, error) {
	var f Features
	var err error
	if f.TCX, err = probeTCX(); err != nil {
		return f, err
	}
	f.DecapFlags, err = probeDecapFlags()
	return f, err
})

// probeTCX asks for a link on a device that cannot exist: a kernel with tcx
// misses the device, one without does not know the attach type.
func probeTCX() (bool, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SchedCLS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return false, fmt.Errorf("loading a probe: %w (root, and a kernel with BPF, are needed)", err)
	}
	defer program.Close()
	_, err = link.AttachTCX(link.TCXOptions{Interface: 1<<31 - 1, Program: program, Attach: ebpf.AttachTCXIngress})
	return !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EINVAL), nil
}

// adjust_room's flags of 6.3 (linux/bpf.h).
const adjustRoomDecapL3IPv4 = 1 << 7

// probeDecapFlags runs adjust_room with a flag of 6.3 on a small packet.
func probeDecapFlags() (bool, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS,
		Instructions: asm.Instructions{
			// R1 is the packet already.
			asm.Mov.Imm(asm.R2, -4), // length
			asm.Mov.Imm(asm.R3, 1),  // BPF_ADJ_ROOM_MAC
			asm.Mov.Imm(asm.R4, adjustRoomDecapL3IPv4),
			asm.FnSkbAdjustRoom.Call(),
			asm.Return(),
		},
		License: "Dual BSD/GPL",
	})
	if err != nil {
		return false, fmt.Errorf("loading a probe: %w", err)
	}
	defer program.Close()
	packet := make([]byte, 14+40+20)
	packet[12], packet[13] = 0x86, 0xdd
	packet[14] = 0x60
	ret, _, err := program.Test(packet)
	if err != nil {
		return false, fmt.Errorf("running a probe: %w", err)
	}
	return ret == 0, nil
}
