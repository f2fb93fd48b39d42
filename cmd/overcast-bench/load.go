// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
	"overcast/policy"
	"overcast/test/lab"
)

// crowd is a document of so many MACs behind so many remotes. The first moved
// ones are behind the next remote in the row.
func crowd(macs, remotes, moved int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "hosts:\n  - {name: here, vtep: 192.0.2.1}\n")
	for i := range remotes {
		fmt.Fprintf(&b, "  - {name: r%d, vtep: %s}\n", i, remoteVTEP(lab.IPv4, i+1))
	}
	fmt.Fprintf(&b, "environments:\n  - name: bench\n    segments:\n      - name: lan\n        vni: %d\n        ports:\n", vni)
	b.WriteString("          - {name: here, host: here, interface: p0, mac: \"02:01:00:00:00:01\"}\n")
	behind := make([][]int, remotes)
	for i := range macs {
		remote := i * remotes / macs
		if i < moved {
			remote = (remote + 1) % remotes
		}
		behind[remote] = append(behind[remote], i)
	}
	for remote, all := range behind {
		if len(all) == 0 {
			continue
		}
		fmt.Fprintf(&b, "          - {name: r%d, host: r%d, interface: p0, mac: %q, extra_macs: [", remote, remote, stationMAC(2, all[0]))
		for _, i := range all[1:] {
			fmt.Fprintf(&b, "%q,", stationMAC(2, i))
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

// known is a document as the agent knows it once it has read it.
func known(text string) (*policy.State, error) {
	model, err := policy.Parse([]policy.Document{{Name: "document", Data: []byte(text)}})
	if err != nil {
		return nil, err
	}
	return model.State("here")
}

// loading is a set of maps that is being filled.
type loading struct {
	set    *maps.Set
	limits maps.Limits
}

func newLoading(macs, remotes int) (*loading, error) {
	limits := maps.Limits{MACs: uint32(macs + 1), Learned: 1024, Groups: 16, Remotes: uint32(remotes)}
	set, err := loader.NewMaps(limits)
	if err != nil {
		return nil, err
	}
	return &loading{set, limits}, nil
}

// bring takes the maps to a state, as the agent does, and tells how long it took.
func (l *loading) bring(state *policy.State, facts maps.Facts) (time.Duration, error) {
	began := time.Now()
	have, err := l.set.Snapshot()
	if err != nil {
		return 0, err
	}
	want, err := maps.Compile(state, facts, have, l.limits)
	if err != nil {
		return 0, err
	}
	if err := l.set.Apply(have, want); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// memory is what the kernel accounts to maps, in bytes.
func memory(all ...*ebpf.Map) (uint64, error) {
	sum := uint64(0)
	for _, m := range all {
		info, err := m.Info()
		if err != nil {
			return 0, err
		}
		bytes, _ := info.Memlock()
		sum += bytes
	}
	return sum, nil
}

// crowdFacts are the ways to the remotes; those of the moved have another next hop.
func crowdFacts(remotes, moved int) maps.Facts {
	facts := maps.Facts{
		Ports: map[string]maps.PortFacts{"p0": {Ifindex: 1 << 20}}, MTU: 1500,
		Paths: make(map[netip.Addr]bpf.Path), MTUs: make(map[netip.Addr]int),
	}
	for i := range remotes {
		vtep := remoteVTEP(lab.IPv4, i+1)
		path := bpf.Path{Ifindex: 1 << 20, Family: unix.AF_INET, Flags: bpf.PathEthernet | bpf.PathMACs, Dst: [6]byte(stationMAC(3, i))}
		if i < moved {
			path.Dst = [6]byte(stationMAC(5, i))
		}
		facts.Paths[vtep], facts.MTUs[vtep] = path, 1500
	}
	return facts
}

// measureLoad measures reading a document, filling new maps with it, a change
// of one entry in a hundred, and the memory that an entry takes.
func measureLoad(r *report, o *options, group string, macs, remotes int) error {
	o.step("%s: loading, %d rounds", group, o.rounds)
	before, after := crowd(macs, remotes, 0), crowd(macs, remotes, macs/100)
	movedRemotes := 0
	if macs == remotes { // it is remotes that count
		after, movedRemotes = before, max(remotes/100, 1)
	}
	changed, err := known(after)
	if err != nil {
		return err
	}
	milliseconds := func(measure string, took time.Duration) {
		r.add(group, measure, "overcast", "ms", lower, float64(took.Nanoseconds())/1e6)
	}
	for range o.rounds {
		if err := o.interrupted(); err != nil {
			return err
		}
		began := time.Now()
		state, err := known(before)
		if err != nil {
			return err
		}
		milliseconds("read", time.Since(began))
		l, err := newLoading(macs, remotes)
		if err != nil {
			return err
		}
		took, err := l.bring(state, crowdFacts(remotes, 0))
		if err == nil {
			milliseconds(scaleLoad, took)
			if took, err = l.bring(changed, crowdFacts(remotes, movedRemotes)); err == nil {
				milliseconds("change one in a hundred", took)
			}
		}
		if err == nil {
			err = l.account(r, group, macs, remotes)
		}
		l.set.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// account adds the memory of the maps that grow.
func (l *loading) account(r *report, group string, macs, remotes int) error {
	if macs == remotes {
		// Mostly tables that have their size from the start.
		bytes, err := memory(l.set.Remotes, l.set.VTEPs, l.set.Floods)
		r.add(group, "memory in all", "overcast", "B", lower, float64(bytes))
		return err
	}
	bytes, err := memory(l.set.FDB, l.set.Spill)
	r.add(group, scaleMemory, "overcast", "B", lower, float64(bytes)/float64(macs))
	return err
}
