// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Names of programs that do nothing. [Datapath.Time] of one is what measuring
// itself takes: the call, and two looks at the clock.
const (
	NothingTC  = "nothing_tc"
	NothingXDP = "nothing_xdp"
)

// LoadNothing adds the programs that do nothing.
func (d *Datapath) LoadNothing() error {
	for name, spec := range map[string]*ebpf.ProgramSpec{
		NothingTC:  {Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm32(asm.R0, tcShot), asm.Return()}},
		NothingXDP: {Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm32(asm.R0, xdpPass), asm.Return()}},
	} {
		spec.Name, spec.License = name, "Dual BSD/GPL"
		program, err := ebpf.NewProgram(spec)
		if err != nil {
			return fmt.Errorf("loading %s: %w", name, err)
		}
		d.programs.Programs[name] = program
	}
	return nil
}
