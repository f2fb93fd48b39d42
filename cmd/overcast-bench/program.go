// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"overcast/bpf"
	"overcast/maps"
	"overcast/test/lab"
	"overcast/test/prog"
)

var programNotes = []string{
	"Each run is one BPF_PROG_TEST_RUN on a fresh packet, as the kernel's own repetition would give the program the packet that it has changed already. Every run has another MAC, or another of 1,000 groups, in random order over all that are loaded, after a round that is not counted; so a lookup finds its entry where even traffic to all of them would leave it. A program that does nothing is measured the same way in the same round, and its time, which is that of the call and of two looks at the clock, is taken off.",
	"A system call lies between two runs, so the code is colder than in a burst of packets: the figures are an upper bound. Copies of replication are really sent, over a veth.",
}

// stage is a datapath that is loaded for measuring, and what it is given.
type stage struct {
	*prog.Stage
	path    *prog.Datapath
	family  lab.Family
	macs    int
	here    prog.Station // the guest at p1
	local   prog.Station // the guest at p2
	there   []net.HardwareAddr
	thereIP netip.Addr
	vteps   [2]prog.Station
}

// Names of the figures of `program` that verdicts are about.
const (
	programEncap    = "encapsulate"
	programStripXDP = "strip at XDP"
)

// programRun is what `program` measures.
type programRun struct {
	*options
	macs []int
}

func programCommand() *cobra.Command {
	run := &programRun{options: &options{}}
	cmd := &cobra.Command{
		Use:   "program",
		Short: "Measure the programs by themselves, nanoseconds for each frame",
		RunE:  func(*cobra.Command, []string) error { return run.run() },
	}
	cmd.Flags().IntSliceVar(&run.macs, "macs", []int{1, 1000, 100_000}, "with so many MACs loaded")
	return run.register(cmd)
}

func (run *programRun) run() error {
	if err := checkCounts("--macs", run.macs, 10_000_000); err != nil {
		return err
	}
	r := newReport("program", run.options, programNotes...)
	runs := 2000
	if run.quick {
		runs = 500
	}
	for _, family := range []lab.Family{lab.IPv4, lab.IPv6} {
		for _, macs := range run.macs {
			run.step("%s", programGroup(family, macs))
			if err := measurePrograms(r, run.options, family, macs, runs); err != nil {
				return fmt.Errorf("%s: %w", programGroup(family, macs), err)
			}
		}
		// Neither drops nor copies depend on how many MACs there are.
		run.step("%s underlay, drops", family)
		if err := measureDrops(r, run.options, family, runs); err != nil {
			return fmt.Errorf("%s underlay, drops: %w", family, err)
		}
		for _, remotes := range []int{1, 8, 64, 512} {
			run.step("%s underlay, copies to %d remotes", family, remotes)
			if err := measureReplication(r, run.options, family, remotes, runs/20); err != nil {
				return fmt.Errorf("%s underlay, %d remotes: %w", family, remotes, err)
			}
		}
		for _, remotes := range []int{1, 8, 64} {
			run.step("%s underlay, groups of %d remotes", family, remotes)
			if err := measureGroups(r, run.options, family, remotes, runs); err != nil {
				return fmt.Errorf("%s underlay, groups of %d remotes: %w", family, remotes, err)
			}
		}
	}
	for _, family := range []lab.Family{lab.IPv4, lab.IPv6} {
		group := programGroup(family, 100_000)
		if ns, ok := r.median(group, programEncap, "overcast"); ok {
			r.judge(group+": "+programEncap, ns, fmt.Sprintf("%.0f ns", ns), "300 ns", "150 ns", ns <= 300, ns <= 150)
		}
		if ns, ok := r.median(group, programStripXDP, "overcast"); ok {
			r.judge(group+": "+programStripXDP, ns, fmt.Sprintf("%.0f ns", ns), "120 ns", "60 ns", ns <= 120, ns <= 60)
		}
	}
	return run.finish(r)
}

func programGroup(family lab.Family, macs int) string {
	return fmt.Sprintf("%s underlay, %s", family, plural(macs, "MAC"))
}

// newStage loads a datapath with so many MACs behind a remote.
func newStage(family lab.Family, macs, remotes int) (*stage, error) {
	built, err := prog.NewStage(2)
	if err != nil {
		return nil, err
	}
	s := &stage{Stage: built, family: family, macs: macs}
	if err := s.load(remotes); err != nil {
		built.Close()
		return nil, err
	}
	return s, nil
}

func (s *stage) close() error {
	if s.path != nil {
		s.path.Close()
	}
	return s.Close()
}

// stationMAC is the i-th MAC of a kind.
func stationMAC(kind byte, i int) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, kind}, binary.BigEndian.AppendUint32(nil, uint32(i))...)
}

func (s *stage) load(remotes int) error {
	s.here = prog.Station{MAC: stationMAC(1, 1), IP: guestAddress(s.family, 0)}
	s.local = prog.Station{MAC: stationMAC(1, 2), IP: guestAddress(s.family, 1)}
	s.thereIP = guestAddress(s.family, 2)
	nextHop := stationMAC(3, 1)
	s.vteps = [2]prog.Station{{MAC: s.UplinkMAC, IP: remoteVTEP(s.family, 1)}, {MAC: nextHop, IP: remoteVTEP(s.family, 2)}}
	for i := range s.macs {
		s.there = append(s.there, stationMAC(2, i))
	}
	facts := s.Facts()
	var hosts []string
	for i := range remotes {
		remote := remoteVTEP(s.family, 2+i)
		facts.Paths[remote], facts.MTUs[remote] = s.Path(remote, nextHop), 1500
		hosts = append(hosts, fmt.Sprintf("  - {name: r%d, vtep: %q}\n", i, remote))
	}
	constants, err := s.Constants(remoteVTEP(s.family, 1))
	if err != nil {
		return err
	}
	s.path, err = prog.Load(s.Host, prog.Options{
		Document: s.document(hosts), Host: "here", Facts: facts, Constants: constants,
		Limits: maps.Limits{MACs: uint32(s.macs + 16), Learned: 1024, Groups: 8 * stageGroups, Remotes: uint32(remotes + 1)},
	})
	if err != nil {
		return err
	}
	return s.path.LoadNothing()
}

func (s *stage) document(hosts []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "hosts:\n  - {name: here, vtep: %q}\n%s", remoteVTEP(s.family, 1), strings.Join(hosts, ""))
	fmt.Fprintf(&b, "environments:\n  - name: bench\n    segments:\n      - name: lan\n        vni: %d\n", vni)
	b.WriteString("        members: [")
	for i := range hosts {
		fmt.Fprintf(&b, "r%d, ", i)
	}
	b.WriteString("]\n        ports:\n")
	fmt.Fprintf(&b, "          - {name: p1, host: here, interface: p1, mac: %q}\n", s.here.MAC)
	fmt.Fprintf(&b, "          - {name: p2, host: here, interface: p2, mac: %q}\n", s.local.MAC)
	fmt.Fprintf(&b, "          - {name: far, host: r0, interface: p1, mac: %q, extra_macs: [", s.there[0])
	for _, mac := range s.there[1:] {
		fmt.Fprintf(&b, "%q, ", mac)
	}
	b.WriteString("]}\n")
	return b.String()
}

// subject is a way through a program.
type subject struct {
	name    string
	program string
	nothing string // the program whose time is taken off
	packet  func(s *stage, n int) prog.Packet
	among   int    // how many addresses it takes in turns, one each run; 0: it has one
	at      int    // where in the packet the last four bytes of the address stand
	first   uint32 // what they are in the first of them
	verdict prog.Verdict
	copies  int // what the time is divided by
}

// vary gives a packet the n-th address: the last four bytes of it, as all of a
// kind have the others in common.
func (sub subject) vary(packet []byte, n int) {
	if sub.among > 0 {
		binary.BigEndian.PutUint32(packet[sub.at:], sub.first+uint32(n))
	}
}

// payload is the length of the frames, from the IP header on.
const payload = 100

func (s *stage) far(n int) prog.Station {
	return prog.Station{MAC: s.there[n%len(s.there)], IP: s.thereIP}
}

func fromGuest(from, to func(s *stage, n int) prog.Station) func(*stage, int) prog.Packet {
	return func(s *stage, n int) prog.Packet {
		return prog.Packet{Data: prog.UDP(from(s, n), to(s, n), payload), Ifindex: s.Ifindex(prog.Port(1))}
	}
}

// fromRemote is a tunnel packet with one change made to it.
func fromRemote(change func(o *prog.Outer, inner []byte, packet func() []byte) []byte) func(*stage, int) prog.Packet {
	return func(s *stage, n int) prog.Packet {
		outer := prog.Outer{From: s.vteps[1], To: s.vteps[0], Source: 50000, Port: prog.TunnelPort, VNI: vni}
		inner := prog.UDP(s.far(n), s.here, payload)
		data := change(&outer, inner, func() []byte { return outer.Wrap(inner) })
		return prog.Packet{Data: data, Ifindex: s.Ifindex(prog.Uplink)}
	}
}

func subjects(macs int) []subject {
	guest := func(s *stage, _ int) prog.Station { return s.here }
	local := func(s *stage, _ int) prog.Station { return s.local }
	far := func(s *stage, n int) prog.Station { return s.far(n) }
	stranger := func(s *stage, n int) prog.Station { return prog.Station{MAC: stationMAC(9, n), IP: s.thereIP} }
	whole := func(_ *prog.Outer, _ []byte, packet func() []byte) []byte { return packet() }
	const destination, source = 2, 8
	tc := func(name, program string, packet func(*stage, int) prog.Packet, verdict prog.Verdict) subject {
		return subject{name: name, program: program, nothing: prog.NothingTC, packet: packet, verdict: verdict, copies: 1}
	}
	varied := func(sub subject, at int) subject {
		sub.among, sub.at = macs, at
		return sub
	}
	xdp := func(name string, packet func(*stage, int) prog.Packet, verdict prog.Verdict) subject {
		return subject{name: name, program: bpf.UplinkXDP, nothing: prog.NothingXDP, packet: packet, verdict: verdict, copies: 1}
	}
	return []subject{
		varied(tc(programEncap, bpf.PortIn, fromGuest(guest, far), prog.Redirected), destination),
		tc("deliver from port to port", bpf.PortIn, fromGuest(guest, local), prog.Redirected),
		xdp(programStripXDP, fromRemote(whole), prog.Passed),
		tc("strip at tc and deliver", bpf.UplinkIn, fromRemote(whole), prog.Redirected),
		varied(tc("drop: unknown destination", bpf.PortIn, fromGuest(guest, stranger), prog.Dropped), destination),
		varied(tc("drop: another's source MAC", bpf.PortIn, fromGuest(stranger, far), prog.Dropped), source),
		xdp("pass: not ours, at XDP", fromRemote(func(o *prog.Outer, _ []byte, packet func() []byte) []byte {
			o.Port++
			return packet()
		}), prog.Passed),
	}
}

// replication is a broadcast to all remotes.
func replication(remotes int) subject {
	guest := func(s *stage, _ int) prog.Station { return s.here }
	everybody := func(s *stage, _ int) prog.Station {
		return prog.Station{MAC: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, IP: s.thereIP}
	}
	// The last copy is the frame itself, so the verdict is a redirect.
	return subject{name: "replicate to " + plural(remotes, "remote") + ", each copy", program: bpf.PortIn, nothing: prog.NothingTC,
		packet: fromGuest(guest, everybody), verdict: prog.Redirected, copies: remotes}
}

func measurePrograms(r *report, o *options, family lab.Family, macs, runs int) error {
	s, err := newStage(family, macs, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return s.measure(r, o, programGroup(family, macs), subjects(macs), runs)
}

func measureReplication(r *report, o *options, family lab.Family, remotes, runs int) error {
	s, err := newStage(family, 1, remotes)
	if err != nil {
		return err
	}
	defer s.close()
	return s.measure(r, o, fmt.Sprintf("%s underlay, copies", family), []subject{replication(remotes)}, runs)
}

// measure takes the subjects in turns.
func (s *stage) measure(r *report, o *options, group string, all []subject, runs int) error {
	for _, sub := range all {
		// Nothing is measured that does not do what it says.
		got, err := s.path.Run(sub.program, sub.packet(s, 0))
		if err != nil {
			return err
		}
		if got.Verdict != sub.verdict {
			return fmt.Errorf("%s: the packet was %s and should have been %s", sub.name, got.Verdict, sub.verdict)
		}
	}
	// The first round only makes the caches what they are under traffic.
	if err := s.each(o, all, turns(len(all), 1), runs, func(subject, float64) {}); err != nil {
		return err
	}
	return s.each(o, all, turns(len(all), o.rounds), runs, func(sub subject, ns float64) {
		r.add(group, sub.name, "overcast", "ns", lower, ns)
	})
}

// each measures subjects in an order, and hands on what a frame or a copy of
// each takes, in nanoseconds.
func (s *stage) each(o *options, all []subject, order []int, runs int, take func(subject, float64)) error {
	for _, i := range order {
		if err := o.interrupted(); err != nil {
			return err
		}
		sub := all[i]
		runs := max(runs, sub.among) // once over all of them
		packet := sub.packet(s, 0)
		addresses := rand.Perm(max(sub.among, 1))
		spent, err := s.path.Time(sub.program, runs, func(k int) prog.Packet {
			sub.vary(packet.Data, addresses[k%len(addresses)])
			return packet
		})
		if err != nil {
			return fmt.Errorf("%s: %w", sub.name, err)
		}
		idle, err := s.path.Time(sub.nothing, 1000, func(int) prog.Packet { return packet })
		if err != nil {
			return err
		}
		cost := typical(nanoseconds(spent)) - typical(nanoseconds(idle))
		take(sub, max(cost, 0)/float64(sub.copies))
	}
	return nil
}

func nanoseconds(durations []time.Duration) []float64 {
	all := make([]float64, len(durations))
	for i, d := range durations {
		all[i] = float64(d.Nanoseconds())
	}
	return all
}

func typical(all []float64) float64 {
	slices.Sort(all)
	return medianOf(all)
}
