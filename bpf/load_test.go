// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The running kernel's verifier takes every program.
func TestLoad(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s", unix.ByteSliceToString(name.Release[:]))
	for _, program := range []string{PortIn, UplinkXDP, UplinkIn, TunnelIn} {
		t.Run(program, func(t *testing.T) {
			spec, err := Spec()
			if err != nil {
				t.Fatal(err)
			}
			if err := spec.Variables[ConstantsVariable].Set(Constants{TunnelIfindex: 1, TunnelPortBe: 0xb512, Ipv6: 1}); err != nil {
				t.Fatal(err)
			}
			for other := range spec.Programs {
				if other != program {
					delete(spec.Programs, other)
				}
			}
			collection, err := ebpf.NewCollection(spec)
			if err != nil {
				var verifier *ebpf.VerifierError
				if errors.As(err, &verifier) {
					t.Fatalf("%+v", verifier)
				}
				t.Fatal(err)
			}
			defer collection.Close()
			if collection.Programs[program] == nil {
				t.Fatalf("the object has no program %s", program)
			}
		})
	}
}
