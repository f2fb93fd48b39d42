// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"overcast/test/lab"
)

// iperf3 sends datagrams that are larger than the MTU, in fragments, at a rate
// at which nothing need be lost; and all are put together again.
func TestFragmentedDatagrams(t *testing.T) {
	t.Parallel()
	for _, decap := range []string{"xdp", "tc", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--decap", decap)
			for i, c := range []struct{ family, address, counter string }{
				{"IPv4", "10.9.0.%d", "IpReasmOKs"},
				{"IPv6", "2001:45::%d", "Ip6ReasmOKs"},
			} {
				for j, to := range w.guests {
					from := w.guests[1-j]
					n := w.datagrams(from, to, fmt.Sprintf(c.address, j+1), 5200+2*i+j)
					// It is the kernel that is asked: iperf's receiver ends with what has come by
					// then.
					w.eventually(fmt.Sprintf("the last of %d datagrams over %s from %s", n, c.family, from.Name), func() bool {
						return w.counter(to, c.counter) >= n
					})
				}
			}
			w.noDrops()
			w.clean()
		})
	}
}

// datagrams sends some of 8,000 bytes from a guest to another, on a port of
// their own, and returns how many. None is lost, as far as iperf knows.
func (w *world) datagrams(from, to *lab.Guest, address string, port int) int {
	w.t.Helper()
	const length = 8000
	at := strconv.Itoa(port)
	server := w.launch(to, "iperf3", "--server", "--one-off", "--port", at, "--forceflush")
	w.eventually("the server", func() bool { return strings.Contains(server.Log(), "listening on "+at) })
	out := w.run(from.Namespace, "iperf3", "--client", address, "--port", at,
		"--udp", "--length", strconv.Itoa(length), "--bitrate", "1M", "--time", "1", "--json")
	var report struct {
		Error string
		End   struct {
			Sum struct {
				LostPackets int `json:"lost_packets"`
			}
			Sent struct{ Bytes int } `json:"sum_sent"`
		}
	}
	// It warns first that the datagrams are larger than the MTU.
	_, document, _ := strings.Cut(out, "\n{")
	if err := json.Unmarshal([]byte("{"+document), &report); err != nil {
		w.t.Fatalf("iperf3: %v\n%s", err, out)
	}
	if report.Error != "" || report.End.Sent.Bytes == 0 || report.End.Sum.LostPackets > 0 {
		w.t.Errorf("to %s: %d bytes sent, %d datagrams lost %s", address, report.End.Sent.Bytes, report.End.Sum.LostPackets, report.Error)
	}
	return report.End.Sent.Bytes / length
}

// counter reads one of the counters of a guest's stack, by nstat's name for it.
func (w *world) counter(g *lab.Guest, name string) int {
	w.t.Helper()
	out := w.run(g.Namespace, "nstat", "--json", "-asz", name)
	var counters struct{ Kernel map[string]int }
	if err := json.Unmarshal([]byte(out), &counters); err != nil {
		w.t.Fatalf("nstat: %v\n%s", err, out)
	}
	return counters.Kernel[name]
}
