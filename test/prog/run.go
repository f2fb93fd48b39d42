// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Packet is what a program is given.
type Packet struct {
	Data    []byte // from the Ethernet header on: 14 bytes at least, some 3,500 at most
	Ifindex uint32 // the device of the namespace that it came in on
	GSOSize uint32 // tc only: bytes of payload in each segment of a super-frame; 0: none
	GSOSegs uint32 // tc only: how many segments a super-frame has
}

// Verdict is what a program decided.
type Verdict int

// The verdicts. A program that returns anything else has failed.
const (
	Passed     Verdict = iota + 1 // TC_ACT_UNSPEC or XDP_PASS
	Dropped                       // TC_ACT_SHOT or XDP_DROP
	Redirected                    // TC_ACT_REDIRECT; the kernel does not do it in a test run
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	return [...]string{"none", "passed", "dropped", "redirected"}[v]
}

// Result is what became of a packet.
type Result struct {
	Verdict  Verdict
	Data     []byte        // the packet afterwards, from its Ethernet header on
	Meta     []byte        // what XDP put in front of it, in host byte order
	Duration time.Duration // of the program alone, as the kernel measured it
}

// Run runs a program on a packet.
func (d *Datapath) Run(program string, p Packet) (Result, error) {
	var result Result
	err := d.namespace.Do(func() (err error) {
		result, err = d.run(program, p)
		return err
	})
	return result, err
}

// Time runs a program a number of times and returns how long each run took.
// Each run has a packet of its own, which next may make of the one before: the
// kernel's own repetition would give the program the packet that it has changed
// already. Between the runs there is little but the system call, so that what
// the program looks up stays in the caches as it would under traffic.
func (d *Datapath) Time(program string, runs int, next func(i int) Packet) ([]time.Duration, error) {
	loaded := d.Program(program)
	if loaded == nil {
		return nil, fmt.Errorf("no program %q", program)
	}
	durations := make([]time.Duration, runs)
	err := d.namespace.Do(func() error {
		var out []byte
		for i := range durations {
			p := next(i)
			if need := len(p.Data) + room; len(out) < need {
				out = make([]byte, need)
			}
			attr, _, err := p.run(loaded, out)
			if err != nil {
				return fmt.Errorf("running %s: %w", program, err)
			}
			durations[i] = time.Duration(attr.duration)
		}
		return nil
	})
	return durations, err
}

// room is what a program may add to a packet, and more.
const room = 512

// run runs a program; the thread is in the namespace.
func (d *Datapath) run(program string, p Packet) (Result, error) {
	loaded := d.Program(program)
	if loaded == nil {
		return Result{}, fmt.Errorf("no program %q", program)
	}
	out := make([]byte, len(p.Data)+room)
	attr, meta, err := p.run(loaded, out)
	if err != nil {
		return Result{}, fmt.Errorf("running %s: %w", program, err)
	}
	verdicts := map[uint32]Verdict{tcUnspec: Passed, tcShot: Dropped, tcRedirect: Redirected}
	if loaded.Type() == ebpf.XDP {
		verdicts = map[uint32]Verdict{xdpPass: Passed, xdpDrop: Dropped}
	}
	return result(program, attr, out[meta:attr.dataSizeOut], out[:meta], verdicts)
}

// run runs a program on the packet. The output begins with so many bytes of
// metadata.
func (p Packet) run(program *ebpf.Program, out []byte) (attr *testRunAttr, meta uint32, err error) {
	if program.Type() == ebpf.XDP {
		context := xdpContext{dataEnd: uint32(len(p.Data)), ingressIfindex: p.Ifindex}
		attr, err = testRun(program, p.Data, out, &context)
		return attr, context.data, err
	}
	context := skbContext{ifindex: p.Ifindex, gsoSize: p.GSOSize, gsoSegs: p.GSOSegs}
	attr, err = testRun(program, p.Data, out, &context)
	return attr, 0, err
}

// What the programs return (linux/pkt_cls.h, linux/bpf.h).
const (
	tcUnspec   = 1<<32 - 1
	tcShot     = 2
	tcRedirect = 7
	xdpDrop    = 1
	xdpPass    = 2
)

func result(program string, attr *testRunAttr, data, meta []byte, verdicts map[uint32]Verdict) (Result, error) {
	verdict, ok := verdicts[attr.retval]
	if !ok {
		return Result{}, fmt.Errorf("%s returned %d", program, int32(attr.retval))
	}
	return Result{Verdict: verdict, Data: data, Meta: meta, Duration: time.Duration(attr.duration)}, nil
}

// skbContext is struct __sk_buff (linux/bpf.h). All that is not named here must
// be zero in a test run, or is of no use to us.
type skbContext struct {
	_       [10]uint32
	ifindex uint32
	_       [30]uint32
	gsoSegs uint32
	_       [2]uint32
	gsoSize uint32
	_       [3]uint32
}

// xdpContext is struct xdp_md (linux/bpf.h); what are pointers to a program are
// offsets here.
type xdpContext struct {
	data           uint32
	dataEnd        uint32
	_              uint32 // data_meta
	ingressIfindex uint32
	_              [2]uint32
}

// testRunAttr is the part of union bpf_attr that BPF_PROG_TEST_RUN reads.
type testRunAttr struct {
	progFD      uint32
	retval      uint32
	dataSizeIn  uint32
	dataSizeOut uint32
	dataIn      uint64
	dataOut     uint64
	repeat      uint32
	duration    uint32 // nanoseconds of one run
	ctxSizeIn   uint32
	ctxSizeOut  uint32
	ctxIn       uint64
	ctxOut      uint64
	flags       uint32
	cpu         uint32
	batchSize   uint32
	_           uint32
}

// testRun is the system call. cilium/ebpf has it too, but there it is either
// with a context or with the time that it took, and we need both.
func testRun[C skbContext | xdpContext](program *ebpf.Program, in, out []byte, context *C) (*testRunAttr, error) {
	if len(in) == 0 {
		return nil, errors.New("an empty packet")
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&in[0])
	pinner.Pin(&out[0])
	pinner.Pin(context)
	attr := &testRunAttr{
		progFD:      uint32(program.FD()),
		dataSizeIn:  uint32(len(in)),
		dataSizeOut: uint32(len(out)),
		dataIn:      uint64(uintptr(unsafe.Pointer(&in[0]))),
		dataOut:     uint64(uintptr(unsafe.Pointer(&out[0]))),
		repeat:      1,
		ctxSizeIn:   uint32(unsafe.Sizeof(*context)),
		ctxSizeOut:  uint32(unsafe.Sizeof(*context)),
		ctxIn:       uint64(uintptr(unsafe.Pointer(context))),
		ctxOut:      uint64(uintptr(unsafe.Pointer(context))),
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return nil, errno
	}
	return attr, nil
}
