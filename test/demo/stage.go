// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"overcast/test/lab"
)

// stage is the lab of the demo, with its agents running.
type stage struct {
	*lab.Lab
	bin         string
	client, web *lab.Guest
	guests      []*lab.Guest
	ports       []string
}

// newStage builds two hosts with a guest each and starts the agents.
func newStage(bin string) (*stage, error) {
	title("Two hosts, a guest on each, and a cloud between them")
	l, err := lab.New(lab.Options{Hosts: 2, Underlay: lab.IPv4})
	if err != nil {
		return nil, err
	}
	s := &stage{Lab: l, bin: bin}
	if err := s.populate(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

func (s *stage) populate() error {
	var err error
	if s.client, err = s.addGuest(0, "client", "02:00:00:00:00:0a", "2001:45::4", "10.9.0.1"); err != nil {
		return err
	}
	if s.web, err = s.addGuest(1, "web", "02:00:00:00:00:0b", "2001:45::5", "10.9.0.2"); err != nil {
		return err
	}
	if err := s.writeDocuments(); err != nil {
		return err
	}
	fmt.Print(s.document())
	for _, h := range s.Hosts {
		if _, err := h.StartAgent(filepath.Join(s.bin, "overcastd"), "--metrics", ""); err != nil {
			return err
		}
		fmt.Printf("overcastd is ready on %s (%s)\n", h.Name, h.VTEP)
	}
	return nil
}

// addGuest adds a guest to a host, and its port to the document.
func (s *stage) addGuest(host int, name, mac, ip6, ip4 string) (*lab.Guest, error) {
	h := s.Hosts[host]
	g, err := h.AddGuest(name, lab.GuestOptions{Port: "veth-" + name, MAC: mac, Addresses: []netip.Prefix{
		netip.MustParsePrefix(ip6 + "/64"), netip.MustParsePrefix(ip4 + "/24"),
	}})
	if err != nil {
		return nil, err
	}
	s.guests = append(s.guests, g)
	// Without ips: for those the guest's own host would answer, and the trace
	// would have no neighbour discovery between the guests.
	s.ports = append(s.ports, fmt.Sprintf("{name: %s, host: %s, interface: %s, mac: %q}", name, h.Name, g.Port, mac))
	return g, nil
}

func (s *stage) document() string {
	var b strings.Builder
	b.WriteString("tunnel: {encapsulation: vxlan, port: 4789}\nhosts:\n")
	for _, h := range s.Hosts {
		fmt.Fprintf(&b, "  - {name: %s, vtep: %s}\n", h.Name, h.VTEP)
	}
	b.WriteString("environments:\n  - name: shop\n    segments:\n      - name: lan\n        vni: 4500\n        ports:\n")
	for _, port := range s.ports {
		fmt.Fprintf(&b, "          - %s\n", port)
	}
	return b.String()
}

func (s *stage) writeDocuments() error {
	for _, h := range s.Hosts {
		if err := h.WriteDocument(s.document()); err != nil {
			return err
		}
	}
	return nil
}

// overcast runs the inspection tool on a host.
func (s *stage) overcast(ctx context.Context, h *lab.Host, args ...string) (string, error) {
	args = append(args, "--pin-path", h.PinPath, "--run-dir", h.RunDir)
	return h.Run(ctx, filepath.Join(s.bin, "overcast"), args...)
}

// inside shows what the maps hold.
func (s *stage) inside(ctx context.Context) error {
	for _, h := range s.Hosts {
		title("%s: overcast fdb, ports, remotes, drops", h.Name)
		for _, verb := range []string{"fdb", "ports", "remotes", "drops"} {
			text, err := s.overcast(ctx, h, verb)
			if err != nil {
				return err
			}
			fmt.Println(text)
		}
	}
	return nil
}

// shell leaves the lab up until the context ends, with the page served.
func (s *stage) shell(ctx context.Context) error {
	server, err := s.serve()
	if err != nil {
		return err
	}
	defer server.Close()
	tour, err := s.tour()
	if err != nil {
		return err
	}
	title("Look around (Ctrl-C takes it all down)")
	fmt.Print(tour)
	<-ctx.Done()
	fmt.Println()
	return nil
}

// tour lists commands that work as they are.
func (s *stage) tour() (string, error) {
	bin, err := filepath.Abs(s.bin)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-23s%s\n", what, fmt.Sprintf(format, args...))
	}
	line("the page of web:", "nsenter --net=%s curl -g '%s'", s.client.Path(), pageURL)
	line("a ping to web:", "nsenter --net=%s ping -c 3 2001:45::5", s.client.Path())
	for _, g := range s.guests {
		line("a shell in "+g.Name+":", "nsenter --net=%s", g.Path())
	}
	for _, h := range s.Hosts {
		line("a shell in "+h.Name+":", "nsenter --net=%s", h.Path())
		line("  its state:", "%s/overcast status --pin-path %s --run-dir %s", bin, h.PinPath, h.RunDir)
		line("  its tunnels:", "nsenter --net=%s tcpdump -ni %s udp port 4789", h.Path(), lab.Uplink)
		line("  its documents:", "%s", filepath.Dir(h.Document()))
		line("  its log:", "%s", filepath.Join(h.RunDir, "overcastd.log"))
	}
	return b.String(), nil
}

// capture records a page's way, both guests' sides and underlay, into a file.
func (s *stage) capture(out string, during func() error) ([]lab.Frame, error) {
	var captures []*lab.Capture
	for _, at := range []struct {
		in            *lab.Namespace
		device, place string
	}{{s.client.Namespace, lab.GuestDevice, "client"}, {s.Hosts[0].Namespace, lab.Uplink, "underlay"}, {s.web.Namespace, lab.GuestDevice, "web"}} {
		c, err := s.Capture(at.in, at.device, at.place)
		if err != nil {
			return nil, err
		}
		captures = append(captures, c)
	}
	err := during()
	settle()
	var frames []lab.Frame
	for _, c := range captures {
		c.Stop()
		frames = append(frames, c.Frames()...)
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return nil, err
	}
	return frames, lab.WritePcapng(out, captures...)
}
