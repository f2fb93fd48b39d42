// SPDX-License-Identifier: Apache-2.0

//go:build matrix

package kernel

import "testing"

// geneve are the end-to-end tests of what only kernels with Geneve can do.
var geneve = work{e2e: []string{
	"TestGeneve$",
	"TestKernelGeneve",
}}

// On Debian 12's own kernel Geneve works in every mode, and with the kernel's
// own Geneve device at the other end.
func TestGeneveOn61(t *testing.T) {
	geneve.on(t, "6.1")
}

// The same on the backported kernel.
func TestGeneveOn612(t *testing.T) {
	geneve.on(t, "6.12")
}

// What the floor is tested by holds on the backported kernel, which has tcx.
func TestFloorsTestsOn612(t *testing.T) {
	work{e2e: floor, prints: []string{"attached by tcx"}}.on(t, "6.12")
}

// The programs do packet by packet what they do on our own kernel.
var packets = work{prog: []string{
	"TestPortIn", "TestUplinkXDP", "TestUplinkIn", "TestTunnelIn", "TestGeneve", "TestTrafficClass",
	"TestWayMTU", "TestUnderlayErrors", "TestClampMSS", "TestSnooping", "TestNeighborAnswers", "TestGovernor",
}}

func TestPacketsOn61(t *testing.T) {
	packets.on(t, "6.1")
}

func TestPacketsOn612(t *testing.T) {
	packets.on(t, "6.12")
}

// wireGuard is an underlay that only these kernels have.
var wireGuard = work{e2e: []string{"TestWireGuard"}, modules: []string{"wireguard"}, tools: []string{"wg"}}

func TestWireGuardOn61(t *testing.T) {
	wireGuard.on(t, "6.1")
}

func TestWireGuardOn612(t *testing.T) {
	wireGuard.on(t, "6.12")
}

// openVSwitch is the other end, with its datapath in these kernels.
var openVSwitch = work{
	e2e:     []string{"TestOpenVSwitch"},
	modules: []string{"openvswitch", "vport-vxlan", "vport-geneve"},
	tools:   []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-appctl"},
	files:   map[string]string{ovsSchema: ovsSchema},
}

// ovsSchema is that of its database.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

func TestOpenVSwitchOn61(t *testing.T) {
	openVSwitch.on(t, "6.1")
}

func TestOpenVSwitchOn612(t *testing.T) {
	openVSwitch.on(t, "6.12")
}

// Ports may be netkit devices, which the backported kernel has.
func TestNetkitOn612(t *testing.T) {
	work{e2e: []string{"TestNetkit"}}.on(t, "6.12")
}
