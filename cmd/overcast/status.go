// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"overcast/loader"
)

// statusRow is the host as a whole.
type statusRow struct {
	Host          string                `json:"host"`
	VTEP          string                `json:"vtep"`
	Underlay      string                `json:"underlay"`
	Encapsulation string                `json:"encapsulation"`
	TunnelPort    uint16                `json:"tunnel_port"`
	Agent         string                `json:"agent"` // running, or stopped: what follows is its last word
	PID           int                   `json:"pid"`
	Version       string                `json:"version"`
	Started       time.Time             `json:"started"`
	Updated       time.Time             `json:"updated"`
	Attach        string                `json:"attach"`
	Decap         string                `json:"decap"`
	Tunnel        loader.TunnelReport   `json:"tunnel"`
	Uplinks       []loader.UplinkReport `json:"uplinks"`
	Segments      int                   `json:"segments"`
	Ports         int                   `json:"ports"`
	PortsMissing  int                   `json:"ports_missing"`
	PortsDown     int                   `json:"ports_down"`
	PortsBare     int                   `json:"ports_unattached"`
	Remotes       int                   `json:"remotes"`
	Config        loader.ConfigReport   `json:"config"`
	Problems      []string              `json:"problems"` // what is not as the documents want it
	Paths         []string              `json:"paths"`    // what is wrong with the ways to other hosts
}

func readStatus(v *view, _ *scope) ([]statusRow, error) {
	r := v.report
	row := statusRow{
		Host: r.Host, VTEP: addr(r.VTEP), Underlay: addr(r.Underlay), Encapsulation: r.Encapsulation, TunnelPort: r.TunnelPort,
		Agent: "stopped", PID: r.PID, Version: r.Version, Started: r.Started, Updated: r.Updated,
		Attach: r.Attach, Decap: string(r.Decap), Tunnel: r.Tunnel, Uplinks: orEmpty(r.Uplinks),
		Segments: len(r.Segments), Ports: len(r.Ports), Remotes: len(r.Remotes), Config: r.Config, Problems: orEmpty(r.Problems), Paths: []string{},
	}
	if v.alive {
		row.Agent = "running"
	}
	for _, port := range r.Ports {
		switch port.State {
		case loader.PortMissing:
			row.PortsMissing++
		case loader.PortDown:
			row.PortsDown++
		case loader.PortUnattached:
			row.PortsBare++
		}
	}
	for _, remote := range r.Remotes {
		if remote.Trouble != "" {
			row.Paths = append(row.Paths, remote.Trouble)
		}
	}
	return []statusRow{row}, nil
}

// statusLine is a line of the table: status is one object, shown upright.
type statusLine struct{ key, value string }

func statusLines(s statusRow) []statusLine {
	var lines []statusLine
	add := func(key, value string) { lines = append(lines, statusLine{key, value}) }
	// Without a report there is nothing but what the maps hold; and an agent
	// that has refused its first documents knows of no tunnel.
	if s.Host != "" {
		add("host", s.Host)
	}
	if s.VTEP != "" {
		add("vtep", s.VTEP)
	}
	if s.TunnelPort != 0 {
		device := "no device"
		if s.Tunnel.Device != "" {
			device = fmt.Sprintf("device %s (ifindex %d)", s.Tunnel.Device, s.Tunnel.Ifindex)
		}
		add("tunnel", fmt.Sprintf("%s, UDP port %d, %s", s.Encapsulation, s.TunnelPort, device))
	}
	add("agent", agentLine(s))
	if s.Attach != "" {
		add("attached by", s.Attach)
		add("decap", s.Decap)
	}
	if s.Underlay != s.VTEP {
		lines = append(lines, statusLine{"underlay", s.Underlay})
	}
	for _, u := range s.Uplinks {
		lines = append(lines, statusLine{"uplink " + u.Interface, fmt.Sprintf("strips by %s (%s), MTU %d", u.Decap, u.Reason, u.MTU)})
	}
	ports := strconv.Itoa(s.Ports)
	for _, not := range []struct {
		ports int
		what  string
	}{{s.PortsMissing, "without a device"}, {s.PortsDown, "set down"}, {s.PortsBare, "without our program"}} {
		if not.ports > 0 {
			ports += fmt.Sprintf(", %d %s", not.ports, not.what)
		}
	}
	lines = append(lines,
		statusLine{"segments", strconv.Itoa(s.Segments)},
		statusLine{"ports", ports},
		statusLine{"remotes", strconv.Itoa(s.Remotes)},
	)
	if s.Config.Source != "" {
		add("documents", s.Config.Source)
	}
	if !s.Config.Applied.IsZero() {
		lines = append(lines, statusLine{"applied", s.Config.Applied.Format(time.RFC3339)})
	}
	if s.Tunnel.Error != "" {
		lines = append(lines, statusLine{"tunnel error", s.Tunnel.Error})
	}
	for _, problem := range s.Problems {
		lines = append(lines, statusLine{"problem", problem})
	}
	for _, path := range s.Paths {
		lines = append(lines, statusLine{"path", path})
	}
	if s.Config.Error != "" {
		lines = append(lines, statusLine{"refused", s.Config.ErrorTime.Format(time.RFC3339) + ", the state before it is in force"})
		for line := range strings.SplitSeq(s.Config.Error, "\n") {
			lines = append(lines, statusLine{"", line})
		}
	}
	return lines
}

func agentLine(s statusRow) string {
	switch {
	case s.Agent == "running" && s.Updated.IsZero():
		return "running, and it has left no report to go by"
	case s.Agent == "running":
		return fmt.Sprintf("running, pid %d, version %s, since %s", s.PID, s.Version, s.Started.Format(time.RFC3339))
	case s.Updated.IsZero():
		return "stopped, and it left no report to go by"
	}
	return "stopped; this is its report of " + s.Updated.Format(time.RFC3339)
}

func statusCommand(o *options) *cobra.Command {
	// The whole status is one cell of lines; JSON and YAML have its fields.
	columns := []column[statusRow]{{"STATUS", false, func(s statusRow) string {
		var b strings.Builder
		for i, line := range statusLines(s) {
			if i > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%-13s %s", line.key, line.value)
		}
		return b.String()
	}}}
	cmd := list(o, verb[statusRow]{name: "status", short: "Show the host's modes, why they were chosen, and the last error",
		rawMaps: []string{"oc_vnis", "oc_pacers"}, columns: columns, read: readStatus, whole: true})
	var wait time.Duration
	cmd.Flags().DurationVar(&wait, "wait", 0, "first wait until overcastd has applied its documents, at most so long, like 10s")
	must(cmd.RegisterFlagCompletionFunc("wait", cobra.NoFileCompletions))
	show := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("wait") {
			if wait <= 0 {
				return fmt.Errorf("--wait %s: want a time like 10s: %w", wait, errUsage)
			}
			if err := o.await(cmd.Context(), wait); err != nil {
				return err
			}
		}
		return show(cmd, args)
	}
	return cmd
}
