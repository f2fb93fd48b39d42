// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"overcast/bpf"
	"overcast/loader"
	"overcast/maps"
)

// metrics are what Prometheus sees: the datapath's counters, read when it
// asks, and how the agent itself does.
type metrics struct {
	set *maps.Set
	log *slog.Logger

	mu     sync.Mutex
	report loader.Report
	groups loader.GroupsReport

	reloads  *prometheus.CounterVec
	configOK prometheus.Gauge
}

// description is a counter that stands in oc_stats.
type description struct {
	desc *prometheus.Desc
	of   func(bpf.Counters) uint64
}

// serveMetrics registers the metrics and serves them at an address until the
// context ends; an empty address serves none.
func serveMetrics(ctx context.Context, address string, set *maps.Set, log *slog.Logger) (*metrics, error) {
	m := &metrics{
		set: set,
		log: log,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "overcast_config_reloads_total", Help: "Times that the configuration was read, by result."}, []string{"result"}),
		configOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "overcast_config_last_reload_successful", Help: "Whether the newest configuration is in force."}),
	}
	if address == "" {
		return m, nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, m.reloads, m.configOK, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w; set metrics to another address, or to \"\"", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "error", err)
		}
	}()
	context.AfterFunc(ctx, func() { server.Close() })
	return m, nil
}

// reloaded counts a reading of the configuration.
func (m *metrics) reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("refused").Inc()
		m.configOK.Set(0)
		return
	}
	m.reloads.WithLabelValues("applied").Inc()
	m.configOK.Set(1)
}

// describe takes over the names of what the maps hold.
func (m *metrics) describe(report *loader.Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report = *report
}

// describeGroups takes over who wants which groups. Nobody changes the report
// any more.
func (m *metrics) describeGroups(report *loader.GroupsReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups = *report
}

func countersOf(object string, labels ...string) []description {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("overcast_"+object+"_"+name, help, labels, nil)
	}
	return []description{
		{desc("received_packets_total", "Packets that came in from it."), func(c bpf.Counters) uint64 { return c.InPackets }},
		{desc("received_bytes_total", "Bytes that came in from it."), func(c bpf.Counters) uint64 { return c.InBytes }},
		{desc("sent_packets_total", "Packets that went out to it."), func(c bpf.Counters) uint64 { return c.OutPackets }},
		{desc("sent_bytes_total", "Bytes that went out to it."), func(c bpf.Counters) uint64 { return c.OutBytes }},
	}
}

var (
	portCounters    = countersOf("port", "environment", "segment", "port")
	segmentCounters = countersOf("segment", "environment", "segment")
	remoteCounters  = countersOf("remote", "host")
	dropPackets     = prometheus.NewDesc("overcast_drops_total", "Packets that ended here, by reason.", []string{"reason"}, nil)
	dropBytes       = prometheus.NewDesc("overcast_drop_bytes_total", "Bytes that ended here, by reason.", []string{"reason"}, nil)
	portUp          = prometheus.NewDesc("overcast_port_up", "Whether the port's device is there, set up, and has our program.", []string{"environment", "segment", "port"}, nil)
	remoteRoute     = prometheus.NewDesc("overcast_remote_route", "Whether there is a route to the remote.", []string{"host"}, nil)
	remoteAlive     = prometheus.NewDesc("overcast_remote_alive", "Whether the remote answers probes.", []string{"host"}, nil)
	remoteLoss      = prometheus.NewDesc("overcast_remote_probe_loss_ratio", "Part of the last probes of the remote that were lost.", []string{"host"}, nil)
	remoteMTU       = prometheus.NewDesc("overcast_remote_mtu_bytes", "Largest underlay packet that gets to the remote, as far as is known.", []string{"host"}, nil)
	inLine          = prometheus.NewDesc("overcast_datapath_in_line", "Whether all is on this machine as the documents want it.", nil, nil)
	tunnelUp        = prometheus.NewDesc("overcast_tunnel_up", "Whether the tunnel device has its UDP port; if not, nothing is received.", nil, nil)
	copiedFrames    = prometheus.NewDesc("overcast_replication_frames_total", "Packets to many of which copies were made, without those that a governor cut.", []string{"environment", "segment", "class"}, nil)
	copiesMade      = prometheus.NewDesc("overcast_replication_copies_total", "Copies that were made of packets to many.", []string{"environment", "segment", "class"}, nil)
	neighbors       = prometheus.NewDesc("overcast_neighbors", "Addresses that ARP and ND are answered for, by where they are known from.", []string{"environment", "segment", "kind"}, nil)
	neighborAnswers = prometheus.NewDesc("overcast_neighbor_answers_total", "ARP requests and neighbour solicitations that were answered in the owner's name.", []string{"environment", "segment"}, nil)
	segmentMTU      = prometheus.NewDesc("overcast_segment_mtu_bytes", "Largest layer-3 packet of the segment.", []string{"environment", "segment"}, nil)
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, set := range [][]description{portCounters, segmentCounters, remoteCounters} {
		for _, d := range set {
			out <- d.desc
		}
	}
	for _, d := range []*prometheus.Desc{dropPackets, dropBytes, portUp, remoteRoute, remoteAlive, remoteLoss, remoteMTU, inLine, tunnelUp, neighbors, neighborAnswers, segmentMTU, copiedFrames, copiesMade} {
		out <- d
	}
	describeGroupMetrics(out)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	report, groups := m.report, m.groups
	m.mu.Unlock()
	out <- gauge(inLine, report.Schema != 0 && len(report.Problems) == 0)
	out <- gauge(tunnelUp, report.Tunnel.Ifindex != 0 && report.Tunnel.Error == "")
	for _, p := range report.Ports {
		out <- gauge(portUp, p.State == loader.PortUp, p.Environment, p.Segment, p.Port)
		m.counters(out, p.Slot, portCounters, p.Environment, p.Segment, p.Port)
	}
	for _, s := range report.Segments {
		out <- prometheus.MustNewConstMetric(segmentMTU, prometheus.GaugeValue, float64(s.MTU), s.Environment, s.Segment)
		m.counters(out, bpf.StatsSegments+s.Slot, segmentCounters, s.Environment, s.Segment)
		m.copies(out, s)
	}
	for _, r := range report.Remotes {
		out <- gauge(remoteRoute, r.MTU != 0, r.Host)
		out <- prometheus.MustNewConstMetric(remoteMTU, prometheus.GaugeValue, float64(r.Usable), r.Host)
		if r.Probe != nil {
			out <- gauge(remoteAlive, r.Probe.Alive, r.Host)
			out <- prometheus.MustNewConstMetric(remoteLoss, prometheus.GaugeValue, r.Probe.Loss, r.Host)
		}
		m.counters(out, bpf.StatsRemotes+r.Slot, remoteCounters, r.Host)
	}
	m.groupMetrics(out, &report, &groups)
	m.neighbors(out, report.Segments)
	counts, err := m.set.DropCounts()
	if err != nil {
		m.log.Warn("metrics", "error", err)
		return
	}
	drops(out, counts)
	answers(out, counts, report.Segments)
}

func gauge(desc *prometheus.Desc, on bool, labels ...string) prometheus.Metric {
	value := 0.0
	if on {
		value = 1
	}
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (m *metrics) counters(out chan<- prometheus.Metric, slot uint32, descriptions []description, labels ...string) {
	counters, err := m.set.Counters(slot)
	if err != nil {
		m.log.Warn("metrics", "error", err)
		return
	}
	for _, d := range descriptions {
		out <- prometheus.MustNewConstMetric(d.desc, prometheus.CounterValue, float64(d.of(counters)), labels...)
	}
}

func (m *metrics) copies(out chan<- prometheus.Metric, s loader.SegmentReport) {
	counts, err := m.set.CopyCounts(s.Slot)
	if err != nil {
		m.log.Warn("metrics", "error", err)
		return
	}
	for class, count := range counts {
		labels := []string{s.Environment, s.Segment, class.String()}
		out <- prometheus.MustNewConstMetric(copiedFrames, prometheus.CounterValue, float64(count.Frames), labels...)
		out <- prometheus.MustNewConstMetric(copiesMade, prometheus.CounterValue, float64(count.Copies), labels...)
	}
}

// neighbors counts the addresses of each segment, without learned ones that are
// too old to be used.
func (m *metrics) neighbors(out chan<- prometheus.Metric, segments []loader.SegmentReport) {
	counts, err := m.set.CountNeighbors(maps.Monotonic())
	if err != nil {
		m.log.Warn("metrics", "error", err)
		return
	}
	for _, s := range segments {
		count := counts[s.Slot]
		out <- prometheus.MustNewConstMetric(neighbors, prometheus.GaugeValue, float64(count.Configured), s.Environment, s.Segment, "configured")
		out <- prometheus.MustNewConstMetric(neighbors, prometheus.GaugeValue, float64(count.Learned), s.Environment, s.Segment, "learned")
	}
}

// answers are counted as drops of what was asked.
func answers(out chan<- prometheus.Metric, counts map[bpf.DropKey]bpf.DropCount, segments []loader.SegmentReport) {
	bySegment := make(map[uint32]uint64)
	for key, count := range counts {
		if key.Reason == bpf.DropNeighborAnswered {
			bySegment[key.Segment] += count.Packets
		}
	}
	for _, s := range segments {
		out <- prometheus.MustNewConstMetric(neighborAnswers, prometheus.CounterValue, float64(bySegment[s.Slot]), s.Environment, s.Segment)
	}
}

func drops(out chan<- prometheus.Metric, counts map[bpf.DropKey]bpf.DropCount) {
	byReason := make(map[bpf.Drop]bpf.DropCount)
	for key, count := range counts {
		sum := byReason[key.Reason]
		sum.Packets += count.Packets
		sum.Bytes += count.Bytes
		byReason[key.Reason] = sum
	}
	// Every reason is there from the start, so that a rate can be taken of its first drop.
	for _, reason := range bpf.Drops() {
		count := byReason[reason]
		out <- prometheus.MustNewConstMetric(dropPackets, prometheus.CounterValue, float64(count.Packets), reason.String())
		out <- prometheus.MustNewConstMetric(dropBytes, prometheus.CounterValue, float64(count.Bytes), reason.String())
	}
}
