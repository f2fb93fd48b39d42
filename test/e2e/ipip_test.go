// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// Flags of bpf_skb_adjust_room (linux/bpf.h) and its mode that makes room behind
// the MAC header.
const (
	roomBehindMAC    = 1
	roomEncapIPv6    = 1 << 2
	roomDecapToIPv4  = 1 << 7
	bytesOfIPv6      = 40
	protocolOfSKB    = 16 // offset in struct __sk_buff
	lengthOfSKB      = 0
	nextHeaderOfIPv6 = 14 + 6
)

// tunnelSuperFrames: guests that put their IPv4 into IPv6 by themselves send
// whole super-frames, of a tunnel that is not UDP's. Programs stand in for the
// kernel's tunnel device, which it may not have.
func (h *hard) tunnelSuperFrames() {
	for _, g := range h.guests {
		h.narrow(g, 1500-h.Overhead()-bytesOfIPv6)
	}
	h.tunnelBetween(h.one, h.two, "10.9.0.2:5011")
	h.tunnelBetween(h.two, h.one, "10.9.0.1:5012")
	h.tunnelBetween(h.one, h.near, "10.9.0.3:5013")
	h.nothingLost()
}

// tunnelBetween sends from one guest to another while both are ends of a tunnel.
func (h *hard) tunnelBetween(from, to *lab.Guest, address string) {
	h.t.Helper()
	for _, end := range [][2]*lab.Guest{{from, to}, {to, from}} {
		defer h.tunnelTo(end[0], end[1])()
		defer h.tunnelFrom(end[0])()
	}
	sent := h.capture(from)
	transferSome(h.t, from, to, netip.MustParseAddrPort(address))
	sent.Stop()
	super := func(f lab.Frame) bool {
		return f.Outgoing && len(f.Data) > 20000 && f.Data[12] == 0x86 && f.Data[nextHeaderOfIPv6] == unix.IPPROTO_IPIP
	}
	if from.Options.Kind == lab.Veth && !slices.ContainsFunc(sent.Frames(), super) {
		h.t.Errorf("%s has sent no super-frame of its tunnel", from.Name)
	}
}

// closing closes a program's place.
func (h *hard) closing(place io.Closer, err error) func() {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return func() {
		if err := place.Close(); err != nil {
			h.t.Error(err)
		}
	}
}

// tunnelTo puts all IPv4 that a guest sends into IPv6 to another, until it is
// undone.
func (h *hard) tunnelTo(from, to *lab.Guest) (undo func()) {
	h.t.Helper()
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, protocolOfSKB, asm.Word),
		asm.JNE.Imm(asm.R2, int32(wireOrder(unix.ETH_P_IP)), "pass"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, bytesOfIPv6),
		asm.Mov.Imm(asm.R3, roomBehindMAC),
		asm.Mov.Imm(asm.R4, roomEncapIPv6),
		asm.FnSkbAdjustRoom.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		// The EtherType and the header, of 42 bytes, at the end of the stack.
		asm.StoreImm(asm.R10, -42, int64(wireOrder(unix.ETH_P_IPV6)), asm.Half),
		asm.StoreImm(asm.R10, -40, 0x60, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, lengthOfSKB, asm.Word),
		asm.Sub.Imm(asm.R2, 14+bytesOfIPv6),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.StoreMem(asm.R10, -36, asm.R2, asm.Half),
		asm.StoreImm(asm.R10, -34, unix.IPPROTO_IPIP, asm.Byte),
		asm.StoreImm(asm.R10, -33, 64, asm.Byte),
	}
	source, destination := from.Options.Addresses[0].Addr().As16(), to.Options.Addresses[0].Addr().As16()
	for i, b := range append(source[:], destination[:]...) {
		code = append(code, asm.StoreImm(asm.R10, int16(-32+i), int64(b), asm.Byte))
	}
	code = append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 12),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, -42),
		asm.Mov.Imm(asm.R4, 42),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.Ja.Label("pass"),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"), // TC_ACT_SHOT
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"),
	)
	return h.closing(from.AttachEgress(lab.GuestDevice, classifier(h.t, code)))
}

// tunnelFrom takes IPv4 out of the IPv6 that comes to a guest, until it is undone.
func (h *hard) tunnelFrom(g *lab.Guest) (undo func()) {
	h.t.Helper()
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, protocolOfSKB, asm.Word),
		asm.JNE.Imm(asm.R2, int32(wireOrder(unix.ETH_P_IPV6)), "pass"),
		asm.Mov.Imm(asm.R2, nextHeaderOfIPv6),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, -8),
		asm.Mov.Imm(asm.R4, 1),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R2, asm.R10, -8, asm.Byte),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_IPIP, "pass"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, -bytesOfIPv6),
		asm.Mov.Imm(asm.R3, roomBehindMAC),
		asm.Mov.Imm(asm.R4, roomDecapToIPv4),
		asm.FnSkbAdjustRoom.Call(),
		asm.StoreImm(asm.R10, -8, int64(wireOrder(unix.ETH_P_IP)), asm.Half),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 12),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, -8),
		asm.Mov.Imm(asm.R4, 2),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"),
	}
	return h.closing(g.AttachIngress(lab.GuestDevice, classifier(h.t, code)))
}

// wireOrder is a 16-bit number as a program of this machine sees it in a packet.
func wireOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
