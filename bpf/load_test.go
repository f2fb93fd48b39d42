// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The running kernel's verifier takes every program, with all constants that
// decide what is left of it.
func TestLoad(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s", unix.ByteSliceToString(name.Release[:]))
	for _, program := range []string{PortIn, UplinkXDP, UplinkIn, TunnelIn} {
		t.Run(program, func(t *testing.T) {
			for _, ipv6 := range []uint8{0, 1} {
				for _, strip := range []uint32{StripKernel, StripTC} {
					for _, geneve := range []uint8{0, 1} {
						constants := Constants{TunnelIfindex: 1, TunnelPortBe: 0xb512, Ipv6: ipv6, Strip: strip, Geneve: geneve, DscpBack: geneve, Dscp: 0xff * geneve}
						if err := load(t, program, constants); err != nil {
							t.Errorf("IPv6 %d, strip %d, Geneve %d: %v", ipv6, strip, geneve, err)
						}
					}
				}
			}
		})
	}
}

// load has the kernel verify one program.
func load(t *testing.T, program string, constants Constants) error {
	t.Helper()
	spec, err := Spec()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables[ConstantsVariable].Set(constants); err != nil {
		t.Fatal(err)
	}
	for other := range spec.Programs {
		if other != program {
			delete(spec.Programs, other)
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
	})
	if err != nil {
		if verifier := (*ebpf.VerifierError)(nil); errors.As(err, &verifier) {
			return fmt.Errorf("%+v", verifier)
		}
		return err
	}
	defer collection.Close()
	loaded := collection.Programs[program]
	if loaded == nil {
		return fmt.Errorf("the object has no program %s", program)
	}
	t.Logf("IPv6 %d, strip %d, Geneve %d: %s", constants.Ipv6, constants.Strip, constants.Geneve, loaded.VerifierLog)
	return nil
}
