// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"overcast/loader"
	"overcast/test/lab"
)

var fanoutNotes = []string{
	"One guest sends frames to a group; the remotes are addresses of one host at the other end of the wire, where every copy is counted and ended. The sender, the copying and the counting are on one CPU, and the time includes all of it: making the copy, the outer headers, the way over the wire and the count. Before the measurement each remote or port is seen to get exactly one copy.",
	"The kernel floods by a bridge whose VXLAN device has an entry for the zero MAC for each remote; netfilter calls, snooping, learning and outer checksums are off.",
}

// fanoutRun is what `fanout` measures.
type fanoutRun struct {
	*options
	remotes, ports []int
	zones          int // 0: the remotes are in none
}

func fanoutCommand() *cobra.Command {
	run := &fanoutRun{options: &options{}}
	cmd := &cobra.Command{
		Use:   "fanout",
		Short: "Measure broadcast and multicast to many, nanoseconds for each copy",
		Long: "Measure broadcast and multicast to many, nanoseconds for each copy, against the kernel's flood list.\n" +
			"With --zones the remotes are spread over so many zones, and what is measured is nanoseconds for each frame,\n" +
			"with a relay in each zone as well; then there are by default 10 to 10000 remotes, and no local ports.",
		RunE: func(cmd *cobra.Command, _ []string) error { return run.run(cmd) },
	}
	cmd.Flags().IntSliceVar(&run.remotes, "remotes", []int{1, 8, 64, 512}, "copy to so many remotes; without --zones the queue between two devices holds some 1000 copies (net.core.netdev_max_backlog)")
	cmd.Flags().IntSliceVar(&run.ports, "ports", []int{1, 8, 64}, "copy to so many local ports")
	cmd.Flags().IntVar(&run.zones, "zones", 0, "spread the remotes over so many zones, and measure relays too (0: no zones)")
	return run.register(cmd)
}

// mostCopies is how many remotes an agent has room for by its default limits,
// and mostPorts how many ports it may have beside the sender's.
const (
	mostCopies = 16384
	mostPorts  = 4094
)

func (run *fanoutRun) run(cmd *cobra.Command) error {
	if err := run.complete(cmd); err != nil {
		return err
	}
	r := run.begin()
	families := []lab.Family{lab.IPv4, lab.IPv6}
	if run.quick {
		families = families[:1]
	}
	for _, family := range families {
		for _, n := range run.remotes {
			if err := run.measure(r, fan{family: family, remotes: n, zones: run.zones}); err != nil {
				return err
			}
		}
	}
	for _, n := range run.ports {
		if err := run.measure(r, fan{family: lab.IPv4, ports: n}); err != nil {
			return err
		}
	}
	for _, group := range r.groups() {
		for _, name := range r.measures(group) {
			judgeFanout(r, group, name)
		}
		judgeRelays(r, group, run.remotes, run.zones)
	}
	return run.finish(r)
}

// complete checks the flags, and gives those that are not set what they have
// with --zones.
func (run *fanoutRun) complete(cmd *cobra.Command) error {
	if run.zones < 0 || run.zones > mostZones {
		return fmt.Errorf("--zones: %d is not from 0 to %d; %w", run.zones, mostZones, errUsage)
	}
	if run.zones > 0 && !cmd.Flags().Changed("remotes") {
		run.remotes = zonedRemotes
	}
	if run.zones > 0 && !cmd.Flags().Changed("ports") {
		run.ports = nil
	}
	return errors.Join(checkCounts("--remotes", run.remotes, mostCopies), checkCounts("--ports", run.ports, mostPorts))
}

// begin returns a new report. Those of different zones cannot be compared.
func (run *fanoutRun) begin() *report {
	if run.zones == 0 {
		return newReport("fanout", run.options, fanoutNotes...)
	}
	return newReport(fmt.Sprintf("fanout --zones %d", run.zones), run.options, zonesNotes...)
}

// fan is where copies go to: remotes or local ports.
type fan struct {
	family         lab.Family
	remotes, ports int
	zones          int // of the remotes; 0: none
}

// String names what a fan's copies go to.
func (f fan) String() string {
	if f.ports > 0 {
		return plural(f.ports, "local port")
	}
	return plural(f.remotes, "remote")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// group is the part of a report that a fan's figures stand in.
func (f fan) group(kind string) string {
	if f.ports > 0 {
		return kind + " to local ports"
	}
	if f.zones > 0 {
		return fmt.Sprintf("%s over %s, %s", kind, f.family, plural(f.zones, "zone"))
	}
	return fmt.Sprintf("%s over %s", kind, f.family)
}

// fanContender is a way to copy.
type fanContender struct {
	name    string
	relays  bool
	connect func(*replicator, *options) error
}

func (f fan) contenders() []fanContender {
	ours, kernel := fanContender{"overcast", false, connectFanOvercast}, fanContender{tuned, false, connectFanKernel}
	if f.zones > 0 {
		return []fanContender{ours, {overcastRelays, true, connectFanOvercast}, kernel}
	}
	return []fanContender{ours, kernel}
}

// target is a kind of group address.
type target struct {
	name string
	mac  string
}

var targets = []target{{"broadcast", "ff:ff:ff:ff:ff:ff"}, {"multicast", "33:33:00:00:00:fb"}}

// replicator is a host that copies, with a sender and a counting end.
type replicator struct {
	*pair
	fan
	relays    bool   // are used, where a zone has remotes enough
	multicast string // settings of the segment, in YAML; "": the defaults
	sender    *lab.Guest
	sinks     *contenderPrograms
	counts    contenderMaps
	sent      uint64 // copies that there should have been since the sinks only count
}

func (run *fanoutRun) measure(r *report, f fan) (err error) {
	contenders := f.contenders()
	all := make([]*replicator, len(contenders))
	defer func() {
		for _, rep := range all {
			if rep != nil {
				err = errors.Join(err, rep.Close())
			}
		}
	}()
	run.step("%s over %s: building", f, f.family)
	for i, c := range contenders {
		if all[i], err = newReplicator(f, run.options, c); err != nil {
			return fmt.Errorf("%s to %s: %w", c.name, f, err)
		}
	}
	for i, rep := range all {
		for _, t := range targets {
			if err := rep.check(t); err != nil {
				return fmt.Errorf("%s, %s to %s: %w", contenders[i].name, t.name, f, err)
			}
		}
		if err := rep.count(); err != nil {
			return fmt.Errorf("%s: %w", contenders[i].name, err)
		}
	}
	for _, t := range targets {
		for i, rep := range all {
			if _, err := rep.volleys(t, run.length/10); err != nil { // warms up
				return fmt.Errorf("%s: %w", contenders[i].name, err)
			}
		}
		run.step("%s to %s over %s: %d rounds", t.name, f, f.family, run.rounds)
		for _, i := range turns(len(all), run.rounds) {
			if err := run.interrupted(); err != nil {
				return err
			}
			got, err := all[i].volleys(t, run.length/4)
			if err != nil {
				return fmt.Errorf("%s, %s to %s: %w", contenders[i].name, t.name, f, err)
			}
			got.record(r, f, t, contenders[i].name)
		}
	}
	return nil
}

// record adds what a repetition has shown.
func (c copied) record(r *report, f fan, t target, contender string) {
	measure, cost := f.String()+", each copy", c.perCopy()
	if f.zones > 0 {
		measure, cost = f.String()+eachFrame, c.perFrame()
		r.add(f.group(t.name), f.String()+", copies of a frame", contender, "copies", lower, float64(c.sent-c.lost)/float64(c.frames))
	}
	s := r.add(f.group(t.name), measure, contender, "ns", lower, cost)
	s.Sent, s.Lost = s.Sent+c.sent, s.Lost+c.lost
}

// newReplicator builds a host with a sender, and what its copies go to.
func newReplicator(f fan, o *options, c fanContender) (*replicator, error) {
	l, err := lab.New(lab.Options{Hosts: 2, Underlay: f.family, Direct: true})
	if err != nil {
		return nil, err
	}
	rep := &replicator{pair: &pair{Lab: l, setting: setting{lab.SuperFrames, f.family}}, fan: f, relays: c.relays}
	if err := rep.populate(o, c.connect); err != nil {
		return nil, errors.Join(err, rep.Close())
	}
	return rep, nil
}

func (rep *replicator) populate(o *options, connect func(*replicator, *options) error) error {
	var err error
	if rep.sender, err = rep.Hosts[0].AddGuest("sender", lab.GuestOptions{Port: "sender"}); err != nil {
		return err
	}
	spec, err := loadContender()
	if err != nil {
		return err
	}
	if err := spec.Variables["contender"].Set(contenderContenderConfig{Vni: vni, End: rep.sinkVerdict()}); err != nil {
		return err
	}
	var objects contenderObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return fmt.Errorf("loading the sink: %w", err)
	}
	rep.sinks, rep.counts = &objects.contenderPrograms, objects.contenderMaps
	rep.close = append(rep.close, objects.Close)
	if err := rep.addRemotes(); err != nil {
		return err
	}
	if rep.zones > 0 {
		if err := rep.answerProbes(); err != nil {
			return err
		}
	}
	for n := range rep.ports {
		if err := lab.Join(rep.Hosts[0].Namespace, rep.Hosts[1].Namespace, portName(n)); err != nil {
			return err
		}
	}
	return connect(rep, o)
}

func portName(n int) string {
	return "p" + strconv.Itoa(n)
}

// remoteVTEP is the address of the i-th remote, and of what stands in for one.
func remoteVTEP(family lab.Family, i int) netip.Addr {
	if family == lab.IPv4 {
		return netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 2, 14: byte(i >> 8), 15: byte(i)})
}

// addRemotes makes the far end of the wire the gateway to all remotes, and all
// of their addresses its own.
func (rep *replicator) addRemotes() error {
	remotes := netip.MustParsePrefix("198.18.0.0/15")
	if rep.family == lab.IPv6 {
		remotes = netip.MustParsePrefix("2001:db8:2::/48")
	}
	near, far := rep.Hosts[0], rep.Hosts[1]
	return errors.Join(
		far.AddRoute(lab.Route{To: remotes, Local: true}),
		near.AddRoute(lab.Route{To: remotes, Via: far.VTEP, Device: lab.Uplink, Source: near.VTEP}),
	)
}

func (rep *replicator) vteps() []netip.Addr {
	all := make([]netip.Addr, rep.remotes)
	for i := range all {
		all[i] = remoteVTEP(rep.family, i+1)
	}
	return all
}

func connectFanOvercast(rep *replicator, o *options) error {
	overcastd, err := o.overcastd()
	if err != nil {
		return err
	}
	host := rep.Hosts[0]
	if err := host.WriteDocument(rep.document()); err != nil {
		return err
	}
	_, err = host.StartAgent(overcastd, "--metrics", "", "--decap", string(loader.DecapTC))
	return err
}

func (rep *replicator) document() string {
	host := rep.Hosts[0]
	var b strings.Builder
	fmt.Fprintf(&b, "hosts:\n  - {name: %s, vtep: %q}\n", host.Name, host.VTEP)
	members := make([]string, 0, rep.remotes)
	for i, vtep := range rep.vteps() {
		members = append(members, fmt.Sprintf("r%d", i))
		fmt.Fprintf(&b, "  - {name: r%d, vtep: %q%s}\n", i, vtep, rep.zoneKey(i))
	}
	fmt.Fprintf(&b, "environments:\n  - name: bench\n    segments:\n      - name: lan\n        vni: %d\n        members: [%s]\n", vni, strings.Join(members, ", "))
	if rep.relays {
		fmt.Fprintf(&b, "        relay: {vni: %d, threshold: %d}\n", relayVNI, relayThreshold)
	}
	if rep.multicast != "" {
		fmt.Fprintf(&b, "        multicast: %s\n", rep.multicast)
	}
	fmt.Fprintf(&b, "        ports:\n          - {name: sender, host: %s, interface: %s, mac: %q}\n", host.Name, rep.sender.Port, rep.sender.MAC)
	for n := range rep.ports {
		fmt.Fprintf(&b, "          - {name: p%d, host: %s, interface: %s, mac: %q}\n", n, host.Name, portName(n), stationMAC(4, n))
	}
	return b.String()
}

func connectFanKernel(rep *replicator, _ *options) error {
	host := rep.Hosts[0]
	if err := host.BridgeNetfilterOff(); err != nil {
		return err
	}
	if err := host.AddSwitch(lab.Switch{VNI: vni, Local: host.VTEP, MTU: 1500 - rep.Overhead(), Remotes: rep.vteps()}); err != nil {
		return err
	}
	for n := range rep.ports {
		if err := host.PlugIntoSwitch(portName(n), stationMAC(4, n).String()); err != nil {
			return err
		}
	}
	return host.PlugIntoSwitch(rep.sender.Port, rep.sender.MAC)
}

// sinkDevices are the devices at which copies end: of the far host or, with
// zones, of the sender's.
func (rep *replicator) sinkDevices() []string {
	if rep.ports == 0 {
		return []string{lab.Uplink}
	}
	devices := make([]string, rep.ports)
	for n := range devices {
		devices[n] = portName(n)
	}
	return devices
}

// frame is a frame to a group.
func (rep *replicator) frame(t target) ([]byte, error) {
	to, err := net.ParseMAC(t.mac)
	if err != nil {
		return nil, err
	}
	from, err := net.ParseMAC(rep.sender.MAC)
	if err != nil {
		return nil, err
	}
	frame := append(append(make([]byte, 0, 128), to...), from...)
	return append(append(frame, 0x88, 0xb6), make([]byte, payload)...), nil
}
