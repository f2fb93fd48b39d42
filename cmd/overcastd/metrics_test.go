// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
)

// newMaps makes the maps of the datapath, unpinned.
func newMaps(t *testing.T) *maps.Set {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := bpf.Spec()
	if err != nil {
		t.Fatal(err)
	}
	maps.Size(spec, maps.Limits{MACs: 16, Learned: 16, Groups: 16, Remotes: 16})
	set := &maps.Set{}
	t.Cleanup(set.Close)
	for _, n := range set.Named() {
		if *n.Map, err = ebpf.NewMap(spec.Maps[n.Name]); err != nil {
			t.Fatalf("map %s (root is needed): %v", n.Name, err)
		}
	}
	return set
}

// testMetrics has a port up and one that is set down, a segment, a remote with
// a route and one without, counters and drops.
func testMetrics(t *testing.T) *metrics {
	t.Helper()
	set := newMaps(t)
	m, err := serveMetrics(t.Context(), "", set, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.describe(&loader.Report{
		Schema: loader.ReportSchema,
		Tunnel: loader.TunnelReport{Device: "oc0", Ifindex: 5},
		Ports: []loader.PortReport{
			{Slot: 1, Environment: "shop", Segment: "lan", Port: "web", Ifindex: 7, State: loader.PortUp, MAC: "02:00:00:00:00:01"},
			{Slot: 2, Environment: "shop", Segment: "lan", Port: "late", Ifindex: 9, State: loader.PortDown},
		},
		Segments: []loader.SegmentReport{{Slot: 1, Environment: "shop", Segment: "lan", MTU: 1450}},
		Remotes: []loader.RemoteReport{{Slot: 1, Host: "b", MTU: 1500, PathReport: loader.PathReport{Usable: 1400}, Probe: &loader.ProbeReport{Alive: true, Loss: 0.5}},
			{Slot: 2, Host: "c"}},
	})
	cpus := ebpf.MustPossibleCPU()
	for i, slot := range []uint32{1, 2, bpf.StatsSegments + 1, bpf.StatsRemotes + 1, bpf.StatsRemotes + 2} {
		perCPU := make([]bpf.Counters, cpus)
		perCPU[0] = bpf.Counters{InPackets: uint64(i + 1), InBytes: uint64(i+1) * 100, OutPackets: uint64(i+1) * 10, OutBytes: uint64(i+1) * 1000}
		if err := set.Stats.Put(slot, perCPU); err != nil {
			t.Fatal(err)
		}
	}
	for class := range bpf.Class(bpf.Classes) {
		perCPU := make([]bpf.CopyCount, cpus)
		for cpu := range perCPU {
			perCPU[cpu] = bpf.CopyCount{Frames: uint64(class) + 1, Copies: 10 * (uint64(class) + 1)}
		}
		if err := set.Copies.Put(1*bpf.Classes+uint32(class), perCPU); err != nil {
			t.Fatal(err)
		}
	}
	for i, key := range []bpf.DropKey{{Reason: bpf.DropPortSpoof, Ifindex: 7, Segment: 1}, {Reason: bpf.DropPortSpoof, Ifindex: 8, Segment: 2}, {Reason: bpf.DropVNIUnknown}} {
		perCPU := make([]bpf.DropCount, cpus)
		perCPU[0] = bpf.DropCount{Packets: uint64(i + 1), Bytes: uint64(i+1) * 60}
		if err := set.Drops.Put(&key, perCPU); err != nil {
			t.Fatal(err)
		}
	}
	segment := func(slot uint32, last byte) *bpf.NeighborKey {
		return &bpf.NeighborKey{Segment: slot, Addr: bpf.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}))}
	}
	drops := make([]bpf.DropCount, cpus)
	drops[0] = bpf.DropCount{Packets: 4, Bytes: 240}
	now := maps.Monotonic()
	if err := errors.Join(
		set.Neighbors.Put(segment(1, 1), &bpf.Neighbor{}),
		set.Neighbors.Put(segment(1, 2), &bpf.Neighbor{}),
		set.Neighbors.Put(segment(2, 1), &bpf.Neighbor{}),
		set.LearnedNeighbors.Put(segment(1, 2), &bpf.LearnedNeighbor{Seen: now}), // a configured one's role
		set.LearnedNeighbors.Put(segment(1, 3), &bpf.LearnedNeighbor{Seen: now}),
		set.LearnedNeighbors.Put(segment(1, 4), &bpf.LearnedNeighbor{Seen: now - uint64(2*maps.NeighborAge)}),
		set.Drops.Put(&bpf.DropKey{Reason: bpf.DropNeighborAnswered, Ifindex: 7, Segment: 1}, drops),
		set.Drops.Put(&bpf.DropKey{Reason: bpf.DropNeighborAnswered, Ifindex: 9, Segment: 1}, drops),
	); err != nil {
		t.Fatal(err)
	}
	m.reloaded(nil)
	m.reloaded(errors.New("a mistake"))
	m.reloaded(errors.New("a mistake"))
	return m
}

func gather(t *testing.T, m *metrics) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m, m.reloads, m.configOK)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// samples are the values of metrics by their names and labels.
func samples(families []*dto.MetricFamily) map[string]float64 {
	all := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			name := fmt.Sprintf("%s{%s}", family.GetName(), strings.Join(labels, ","))
			all[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	got := samples(gather(t, testMetrics(t)))
	want := map[string]float64{
		"overcast_config_reloads_total{result=applied}":            1,
		"overcast_config_reloads_total{result=refused}":            2,
		"overcast_config_last_reload_successful{}":                 0,
		"overcast_port_up{environment=shop,port=web,segment=lan}":  1,
		"overcast_port_up{environment=shop,port=late,segment=lan}": 0,
		"overcast_datapath_in_line{}":                              1,
		"overcast_tunnel_up{}":                                     1,
		"overcast_remote_route{host=b}":                            1,
		"overcast_remote_route{host=c}":                            0,
		"overcast_remote_mtu_bytes{host=b}":                        1400,
		"overcast_remote_mtu_bytes{host=c}":                        0,
		"overcast_remote_alive{host=b}":                            1,
		"overcast_remote_probe_loss_ratio{host=b}":                 0.5,
		"overcast_segment_mtu_bytes{environment=shop,segment=lan}": 1450,
		"overcast_mdb_max_entries{}":                               16,

		"overcast_neighbors{environment=shop,kind=configured,segment=lan}": 2,
		"overcast_neighbors{environment=shop,kind=learned,segment=lan}":    1,
		"overcast_neighbor_answers_total{environment=shop,segment=lan}":    8,
	}
	for i, object := range []string{"port{environment=shop,port=web,segment=lan}", "port{environment=shop,port=late,segment=lan}", "segment{environment=shop,segment=lan}", "remote{host=b}", "remote{host=c}"} {
		kind, labels, _ := strings.Cut(object, "{")
		n := float64(i + 1)
		for name, value := range map[string]float64{"received_packets": n, "received_bytes": n * 100, "sent_packets": n * 10, "sent_bytes": n * 1000} {
			want["overcast_"+kind+"_"+name+"_total{"+labels] = value
		}
	}
	for class, n := range map[string]float64{"broadcast": 1, "unknown_unicast": 2, "multicast": 3} {
		n *= float64(ebpf.MustPossibleCPU())
		labels := "{class=" + class + ",environment=shop,segment=lan}"
		want["overcast_replication_frames_total"+labels], want["overcast_replication_copies_total"+labels] = n, 10*n
	}
	// Every reason is there from the start.
	for _, reason := range bpf.Drops() {
		want[fmt.Sprintf("overcast_drops_total{reason=%s}", reason)] = 0
		want[fmt.Sprintf("overcast_drop_bytes_total{reason=%s}", reason)] = 0
	}
	want["overcast_drops_total{reason=DROP_PORT_SPOOF}"], want["overcast_drop_bytes_total{reason=DROP_PORT_SPOOF}"] = 3, 180
	want["overcast_drops_total{reason=DROP_VNI_UNKNOWN}"], want["overcast_drop_bytes_total{reason=DROP_VNI_UNKNOWN}"] = 3, 180
	want["overcast_drops_total{reason=DROP_NEIGHBOR_ANSWERED}"], want["overcast_drop_bytes_total{reason=DROP_NEIGHBOR_ANSWERED}"] = 8, 480
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is not right on this machine shows, and before there is a report nothing is right.
func TestMetricsOfProblems(t *testing.T) {
	m := testMetrics(t)
	for name, report := range map[string]loader.Report{
		"no report": {},
		"problems":  {Schema: loader.ReportSchema, Problems: []string{"a mistake"}, Tunnel: loader.TunnelReport{Error: "held", Ifindex: 5}},
		"no device": {Schema: loader.ReportSchema, Problems: []string{"a mistake"}},
	} {
		m.describe(&report)
		for _, family := range gather(t, m) {
			if n := family.GetName(); (n == "overcast_datapath_in_line" || n == "overcast_tunnel_up") && family.GetMetric()[0].GetGauge().GetValue() != 0 {
				t.Errorf("%s: %s is not 0", name, n)
			}
		}
	}
}

// Names say the unit, counters end in _total and nothing else does, each has a
// help, and no label grows without a bound: no MACs, addresses or ifindexes.
func TestMetricNames(t *testing.T) {
	bounded := []string{"environment", "segment", "port", "host", "reason", "class", "result", "kind", "family", "version", "from", "cause", "limit", "zone"}
	form := regexp.MustCompile(`^overcast_[a-z_]+$`)
	for _, family := range append(gather(t, testMetrics(t)), gather(t, testGroupMetrics(t))...) {
		name := family.GetName()
		if !form.MatchString(name) || family.GetHelp() == "" {
			t.Errorf("%s: %q: want overcast_*, with a help", name, family.GetHelp())
		}
		if counter := family.GetType() == dto.MetricType_COUNTER; counter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, family.GetType())
		}
		for _, unit := range []string{"kilo", "mega", "milli", "micro", "_ms", "_kb", "percent"} {
			if strings.Contains(name, unit) {
				t.Errorf("%s is not in a base unit", name)
			}
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if !slices.Contains(bounded, label.GetName()) {
					t.Errorf("%s has the label %s, which has no bound", name, label.GetName())
				}
			}
		}
	}
}

func TestServeMetrics(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	// Another test may take the port meanwhile; a few tries are enough.
	var m *metrics
	var address string
	var err error
	for range 5 {
		if address, err = freeAddress(); err != nil {
			t.Fatal(err)
		}
		if m, err = serveMetrics(ctx, address, newMaps(t), slog.New(slog.DiscardHandler)); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	m.reloaded(nil)
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"overcast_config_last_reload_successful 1", `overcast_drops_total{reason="DROP_PORT_SPOOF"} 0`, "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("%q is not among the metrics", line)
		}
	}
	// Whoever has the address already is told apart from a mistake.
	_, err = serveMetrics(ctx, address, newMaps(t), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), address) || !strings.HasSuffix(err.Error(), `set metrics to another address, or to ""`) {
		t.Errorf("got %v, want an error that names %s and what to do", err, address)
	}
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
