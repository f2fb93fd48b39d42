// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"overcast/bpf"
)

// oc_uplink_in believes metadata only with the magic, whole, and on an uplink
// that runs oc_uplink_xdp. No test run can give it any, so frames come over the
// uplink here, through an XDP program that puts it in front of a tunnel packet.
//
// If the metadata is believed, the outside of the packet is taken for a guest's
// frame, and nobody knows its MAC; else the packet is stripped and delivered.
func TestMetadata(t *testing.T) {
	for _, underlay := range underlays {
		t.Run(underlay.String(), func(t *testing.T) {
			for name, c := range map[string]struct {
				magic    uint64
				words    int // of 32 bits, that the metadata has
				device   string
				believed bool
			}{
				"right":                          {Magic, 4, Uplink, true},
				"another magic":                  {Magic ^ 1, 4, Uplink, false},
				"no magic":                       {0, 4, Uplink, false},
				"a word less":                    {Magic, 3, Uplink, false},
				"the magic alone":                {Magic, 2, Uplink, false},
				"no uplink that strips at XDP":   {Magic, 4, "", false},
				"another uplink strips at XDP":   {Magic, 4, Port(9), false},
				"the tunnel device is no uplink": {Magic, 4, Tunnel, false},
			} {
				t.Run(name, func(t *testing.T) {
					w := newWorld(t, underlay, func(k *bpf.Constants) { k.XdpUplinks = [bpf.MaxXDPUplinks]uint32{} })
					if c.device != "" {
						w.constants.XdpUplinks[1] = w.Ifindex(c.device)
						w.reload(t)
					}
					r := w.delivered("", "host-b", "shop/lan/one", UDP(guest4(macB), guest4(macOne), 100))
					if c.believed {
						r = w.denied(bpf.UplinkIn, "", bpf.DropFDBUnknown, "other/lan", r.packet.Data)
					}
					w.attach(t, marker(t, c.magic, w.segment("other/lan"), w.remote("host-c"), c.words))
					w.arrive(t, r)
				})
			}
			t.Run("of oc_uplink_xdp", func(t *testing.T) {
				w := newWorld(t, underlay, nil)
				w.attach(t, w.Program(bpf.UplinkXDP))
				w.arrive(t, w.delivered("", "host-b", "shop/lan/one", ARP(guest4(macB), guest4(macOne))))
			})
		})
	}
}

// marker is an XDP program that puts metadata in front of every packet.
func marker(t *testing.T, magic uint64, segment, remote uint32, words int) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP,
		Instructions: append(append(asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.Mov.Imm(asm.R2, int32(-4*words)),
			asm.FnXdpAdjustMeta.Call(),
			asm.LoadMem(asm.R2, asm.R6, 8, asm.Word), // data_meta
			asm.LoadMem(asm.R3, asm.R6, 0, asm.Word), // data
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, int32(4*words)),
			asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		}, storeWords([]uint32{uint32(magic), uint32(magic >> 32), segment, remote}[:words])...),
			asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
			asm.Return(),
		),
		License: "Dual BSD/GPL",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}

// storeWords writes to where register 2 points. The magic is two words in the
// order of a little-endian machine, as the programs are made for those.
func storeWords(words []uint32) asm.Instructions {
	var code asm.Instructions
	for i, word := range words {
		code = append(code, asm.LoadImm(asm.R5, int64(word), asm.DWord), asm.StoreMem(asm.R2, int16(4*i), asm.R5, asm.Word))
	}
	return code
}

// reload loads the programs again, with the constants as they are now.
func (w *world) reload(t *testing.T) {
	t.Helper()
	if err := w.Datapath.Reload(w.constants); err != nil {
		t.Fatal(err)
	}
}

// attach puts an XDP program and oc_uplink_in on the uplink.
func (w *world) attach(t *testing.T, xdp *ebpf.Program) {
	t.Helper()
	w.attachTo(t, Uplink, bpf.UplinkIn)
	var attached link.Link
	err := w.Host.Do(func() (err error) {
		attached, err = link.AttachXDP(link.XDPOptions{Program: xdp, Interface: int(w.Ifindex(Uplink)), Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { attached.Close() })
}

// attachTo puts a program at a device's tc ingress.
func (w *world) attachTo(t *testing.T, device, program string) {
	t.Helper()
	attached, err := w.Host.AttachIngress(device, w.Program(program))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { attached.Close() })
}

// arrive sends a row's packet from the far end of its device, and waits until
// it is counted. Its verdict is what the counters say.
func (w *world) arrive(t *testing.T, r row) {
	t.Helper()
	before, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Far.SendFrame(w.device(r.packet.Ifindex), r.packet.Data); err != nil {
		t.Fatal(err)
	}
	w.await(t, r, before)
}

// device is the name of the device that has this index.
func (w *world) device(ifindex uint32) string {
	for name, index := range w.ifindexes {
		if index == ifindex {
			return name
		}
	}
	panic(fmt.Sprintf("no device has the index %d", ifindex))
}

// await waits until what the row wants has been counted, and nothing else.
func (w *world) await(t *testing.T, r row, before Counts) {
	t.Helper()
	want := Counts{Stats: orEmpty(r.stats), Copies: orEmpty(r.copied()), Drops: orEmpty(r.drops)}
	var diff string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		counts, err := w.Counts()
		if err != nil {
			t.Fatal(err)
		}
		if diff = cmp.Diff(want, counts.Since(before)); diff == "" {
			return
		}
	}
	t.Errorf("%s: counters, - should be, + are:\n%s", r.name, diff)
}
