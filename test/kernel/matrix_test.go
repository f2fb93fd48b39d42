// SPDX-License-Identifier: Apache-2.0

//go:build matrix

package kernel

import "testing"

// geneve are the end-to-end tests of what only kernels with Geneve can do.
var geneve = []string{
	"TestGeneve$",
	"TestKernelGeneve",
}

// On Debian 12's own kernel Geneve works in every mode, and with the kernel's
// own Geneve device at the other end.
func TestGeneveOn61(t *testing.T) {
	run(t, "6.1", geneve)
}

// The same on the backported kernel.
func TestGeneveOn612(t *testing.T) {
	run(t, "6.12", geneve)
}

// What the floor is tested by holds on the backported kernel, which has tcx.
func TestFloorsTestsOn612(t *testing.T) {
	run(t, "6.12", floor, "attached by tcx")
}
