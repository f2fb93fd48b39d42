// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// metrics fetches what a host's agent tells Prometheus.
func (w *world) metrics(h *lab.Host) string {
	w.t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			return h.Dial(netip.MustParseAddrPort(address))
		},
	}}
	response, err := client.Get("http://127.0.0.1:9469/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("metrics: %s, %v", response.Status, err)
	}
	return string(text)
}

// Each mistake in a document is named with file, line and column and what
// would be right, in the status, in the log and as a metric; all at once; and
// what runs goes on as it was, until the document is right again.
func TestWrongDocument(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--metrics", "127.0.0.1:9469")
	a := w.Hosts[0]
	good := w.document()
	w.ping(w.guests[0], "2001:45::2")
	for _, c := range []struct {
		name, document string
		says           []string
	}{
		{"an unknown key", strings.Replace(good, "vni:", "vnid:", 1),
			[]string{"lab.yaml:8:9", `"vnid"`, "vni"}},
		{"a bad value", strings.Replace(good, "vni: 4500", "vni: 99999999", 1),
			[]string{"lab.yaml:8:14", "16777215"}},
		{"two mistakes at once", strings.Replace(strings.Replace(good, "vni: 4500", "vni: zero", 1), w.Hosts[1].VTEP.String(), "192.0.2.300", 1),
			[]string{"lab.yaml:8:14", "lab.yaml:3:26", "192.0.2.300"}},
		{"no YAML", "hosts: [", []string{"lab.yaml:"}},
		{"without this host", strings.ReplaceAll(good, "host-a", "host-z"), []string{`"host-a"`, "host-z"}},
		{"an encapsulation that is not there", "tunnel: {encapsulation: gre}\n" + good, []string{"lab.yaml:1:25", "vxlan"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := a.WriteDocument(c.document); err != nil {
				t.Fatal(err)
			}
			w.eventually("the refusal", func() bool { return w.status(a).Config.Error != "" })
			refused := w.status(a).Config.Error
			for _, text := range c.says {
				if !strings.Contains(refused, text) {
					t.Errorf("the status does not name %s:\n%s", text, refused)
				}
				if !strings.Contains(strings.ReplaceAll(w.agents[0].Log(), `\"`, `"`), text) {
					t.Errorf("the log does not name %s", text)
				}
			}
			if m := w.metrics(a); !strings.Contains(m, "\novercast_config_last_reload_successful 0\n") {
				t.Error("the metric says that the newest configuration is in force")
			}
			w.ping(w.guests[0], "2001:45::2")
			w.ping(w.guests[1], "10.9.0.1")

			// It stays so over a restart: the datapath that runs is kept.
			w.agents[0].Kill()
			w.agents[0] = w.startAgent(a)
			if w.status(a).Config.Error == "" {
				t.Error("the agent that started with the wrong document does not say so")
			}
			w.ping(w.guests[0], "2001:45::2")

			if err := a.WriteDocument(good); err != nil {
				t.Fatal(err)
			}
			w.eventually("the recovery", func() bool { return w.status(a).Config.Error == "" })
			if m := w.metrics(a); !strings.Contains(m, "\novercast_config_last_reload_successful 1\n") {
				t.Error("the metric says that the newest configuration is not in force")
			}
			w.ping(w.guests[0], "2001:45::2")
			w.noDrops()
		})
	}
}

// SIGHUP reads the documents again; the metrics count it, and the traffic.
func TestMetrics(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--metrics", "127.0.0.1:9469")
	a := w.Hosts[0]
	w.ping(w.guests[0], "2001:45::2")
	if err := w.agents[0].Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.eventually("the reload", func() bool {
		return strings.Contains(w.metrics(a), `overcast_config_reloads_total{result="applied"} 2`)
	})
	if err := w.guests[0].SendFrame(lab.GuestDevice, frame("02:00:00:00:77:77", w.guests[0].MAC, 0x88, 0xb5)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the drop", func() bool {
		return strings.Contains(w.metrics(a), `overcast_drops_total{reason="DROP_FDB_UNKNOWN"} 1`)
	})
	text := w.metrics(a)
	for _, want := range []string{
		`overcast_port_up{environment="shop",port="g1",segment="lan"} 1`,
		`overcast_remote_route{host="host-b"} 1`,
		`overcast_segment_mtu_bytes{environment="shop",segment="lan"} 1450`,
		`overcast_drop_bytes_total{reason="DROP_FDB_UNKNOWN"} 14`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, counter := range []string{
		`overcast_port_received_packets_total{environment="shop",port="g1",segment="lan"}`,
		`overcast_segment_received_bytes_total{environment="shop",segment="lan"}`,
		`overcast_remote_sent_packets_total{host="host-b"}`,
		`overcast_remote_received_packets_total{host="host-b"}`,
	} {
		if !strings.Contains(text, counter+" ") || strings.Contains(text, counter+" 0\n") {
			t.Errorf("%s is not there, or zero", counter)
		}
	}
}

// A whole environment in OVERCAST_DOCUMENT replaces the store.
func TestDocumentInVariable(t *testing.T) {
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t}
	for i, h := range w.Hosts {
		w.addGuest(h, "g"+string(rune('1'+i)), lab.GuestOptions{})
	}
	t.Cleanup(w.explain)
	for _, h := range w.Hosts {
		p, err := h.StartAgentWith([]string{"OVERCAST_DOCUMENT=" + w.document()}, overcastd, "--metrics", "")
		if err != nil {
			t.Fatal(err)
		}
		w.agents = append(w.agents, p)
	}
	w.ping(w.guests[0], "2001:45::2")
	if got := w.status(w.Hosts[0]).Config.Source; got != "OVERCAST_DOCUMENT" {
		t.Errorf("the status names %q as source", got)
	}
}
