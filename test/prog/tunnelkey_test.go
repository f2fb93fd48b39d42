// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"overcast/bpf"
	"overcast/test/lab"
)

// tunnelIn is a program that tells oc_tunnel_in what the kernel's tunnel device
// would: from whom, to whom and under which VNI a frame came.
const tunnelIn = "keyed_tunnel_in"

// The size of struct bpf_tunnel_key, and where its remote and local addresses
// are (linux/bpf.h). The VNI stands first. An IPv4 address is in host byte order.
const tunnelKeySize, tunnelKeyRemote, tunnelKeyLocal = 44, 4, 28

// watchTunnel puts a program behind the tunnel device that notes the key of
// each frame, and loads one that gives a frame a key and calls oc_tunnel_in.
func (z *zones) watchTunnel(t *testing.T) {
	t.Helper()
	newMap := func(spec ebpf.MapSpec) *ebpf.Map {
		m, err := ebpf.NewMap(&spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	load := func(code asm.Instructions) *ebpf.Program {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: code, License: "Dual BSD/GPL"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	z.keysSent = newMap(ebpf.MapSpec{Type: ebpf.Queue, ValueSize: tunnelKeySize, MaxEntries: 256})
	z.keyOfNext = newMap(ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: tunnelKeySize, MaxEntries: 1})
	next := newMap(ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err := next.Put(uint32(0), z.Program(bpf.TunnelIn)); err != nil {
		t.Fatal(err)
	}
	family := int32(0)
	if z.underlay == lab.IPv6 {
		family = 1 // BPF_F_TUNINFO_IPV6
	}
	egress, err := z.Host.AttachEgress(Tunnel, load(noteTunnelKey(z.keysSent, family)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { egress.Close() })
	z.programs.Programs[tunnelIn] = load(setTunnelKey(z.keyOfNext, next, family))
}

// noteTunnelKey is code that puts a frame's key into a queue, and lets it pass.
func noteTunnelKey(queue *ebpf.Map, family int32) asm.Instructions {
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R0, 0)}
	const at = -48
	for offset := int16(at); offset < 0; offset += 8 {
		code = append(code, asm.StoreMem(asm.RFP, offset, asm.R0, asm.DWord))
	}
	return append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, at),
		asm.Mov.Imm(asm.R3, tunnelKeySize),
		asm.Mov.Imm(asm.R4, family),
		asm.FnSkbGetTunnelKey.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.LoadMapPtr(asm.R1, queue.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, at),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnMapPushElem.Call(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), // TC_ACT_UNSPEC
		asm.Return(),
	)
}

// setTunnelKey is code that gives a frame the key of a map, and calls the
// program of another. A verdict that there is none tells of a failure.
func setTunnelKey(key, next *ebpf.Map, family int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, key.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "failed"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Mov.Imm(asm.R3, tunnelKeySize),
		asm.Mov.Imm(asm.R4, family),
		asm.FnSkbSetTunnelKey.Call(),
		asm.JNE.Imm(asm.R0, 0, "failed"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 99).WithSymbol("failed"),
		asm.Return(),
	}
}

// keyed has the next frame come by the tunnel device, from a host to an address
// under a VNI. To a program that reads the key, what set it as the destination
// is where the frame came from.
func (z *zones) keyed(host string, vni uint32, to netip.Addr) func(*world) func() {
	key := binary.NativeEndian.AppendUint32(nil, vni)
	key = append(key, make([]byte, tunnelKeySize-len(key))...)
	put := func(at int, addr netip.Addr) {
		if addr.Is4() {
			b := addr.As4()
			binary.NativeEndian.PutUint32(key[at:], binary.BigEndian.Uint32(b[:]))
			return
		}
		copy(key[at:], addr.AsSlice())
	}
	put(tunnelKeyRemote, to)
	put(tunnelKeyLocal, vtep(z.underlay, host))
	return func(*world) func() {
		must(z.keyOfNext.Put(uint32(0), key))
		return func() {}
	}
}

// destination is to whom and under which VNI a frame is sent.
type destination struct {
	host string
	vni  uint32
}

// sentByDevice are the frames that were sent by the tunnel device, in order.
func (z *zones) sentByDevice(t *testing.T) []destination {
	t.Helper()
	hosts := make(map[netip.Addr]string)
	for host := range zoneOf {
		hosts[vtep(z.underlay, host)] = host
	}
	var sent []destination
	key := make([]byte, tunnelKeySize)
	for {
		err := z.keysSent.LookupAndDelete(nil, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return sent
		}
		if err != nil {
			t.Fatal(err)
		}
		addr, _ := netip.AddrFromSlice(key[tunnelKeyLocal:])
		if z.underlay == lab.IPv4 {
			addr = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.NativeEndian.Uint32(key[tunnelKeyLocal:]))))
		}
		sent = append(sent, destination{hosts[addr], binary.NativeEndian.Uint32(key)})
	}
}
