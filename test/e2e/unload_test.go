// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// command runs overcast about a host and returns its exit code and output.
func (w *world) command(h *lab.Host, args ...string) (int, string) {
	w.t.Helper()
	out, err := h.Run(w.t.Context(), overcast, append(args, "--pin-path", h.PinPath, "--run-dir", h.RunDir)...)
	if err == nil {
		return 0, out
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return exit.ExitCode(), out
}

// The end of the agent leaves everything forwarding, and the command line
// answering; unload takes everything away and refuses while the agent lives;
// a new start brings everything back.
func TestUnload(t *testing.T) {
	for _, decap := range []string{"xdp", "tc", "kernel"} {
		t.Run(decap, func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--decap", decap)
			a := w.Hosts[0]
			w.ping(w.guests[0], "2001:45::2")
			if code, out := w.command(a, "unload"); code != 1 || !strings.Contains(out, "--force") {
				t.Errorf("unload under a living agent: exit %d\n%s", code, out)
			}
			w.ping(w.guests[0], "2001:45::2")

			if err := w.agents[0].Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			w.eventually("the agent's end", func() bool { ended, _ := w.agents[0].Ended(); return ended })
			if _, err := w.agents[0].Ended(); err != nil {
				t.Errorf("the agent ended with %v", err)
			}
			w.ping(w.guests[0], "2001:45::2")
			w.ping(w.guests[1], "10.9.0.1")
			if s := w.status(a); s.Agent != "stopped" || s.Ports != 1 {
				t.Errorf("status without an agent: %+v", s)
			}
			for _, verb := range []string{"ports", "segments", "remotes", "fdb", "drops"} {
				if code, out := w.command(a, verb); code != 0 {
					t.Errorf("%s without an agent: exit %d\n%s", verb, code, out)
				}
			}

			if code, out := w.command(a, "unload"); code != 0 {
				t.Fatalf("unload: exit %d\n%s", code, out)
			}
			w.silent(w.guests[0], "2001:45::2")
			if _, err := os.Stat(a.PinPath); !os.IsNotExist(err) {
				t.Errorf("pins are left: %v", err)
			}
			if out := w.run(a.Namespace, "ip", "-d", "link"); strings.Contains(out, "oc0") || strings.Contains(out, "xdp") {
				t.Errorf("left behind:\n%s", out)
			}
			if out := w.run(a.Namespace, "tc", "filter", "show", "dev", lab.Uplink, "ingress"); out != "" {
				t.Errorf("left behind: %s", out)
			}
			if code, out := w.command(a, "ports"); code != 1 || !strings.Contains(out, "no datapath is loaded") {
				t.Errorf("ports without a datapath: exit %d\n%s", code, out)
			}
			if code, out := w.command(a, "unload"); code != 0 {
				t.Errorf("unload once more: exit %d\n%s", code, out)
			}

			w.agents[0] = w.startAgent(a)
			w.ping(w.guests[0], "2001:45::2")
			if code, out := w.command(a, "unload", "--force"); code != 0 {
				t.Errorf("unload --force: exit %d\n%s", code, out)
			}
		})
	}
}

// An agent under which the datapath is unloaded puts all of it back by itself:
// also what unload has written last.
func TestUnloadUnderAgent(t *testing.T) {
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t}
	for i, h := range w.Hosts {
		w.addGuest(h, fmt.Sprintf("g%d", i+1), lab.GuestOptions{})
	}
	t.Cleanup(w.explain)
	a, port := w.Hosts[0], w.guests[0].Port
	// The lab has switched it off, as a good host does.
	if err := a.Sysctl("net/ipv6/conf/"+port+"/disable_ipv6", "0"); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.ping(w.guests[0], "2001:45::2")
	for range 5 {
		if code, out := w.command(a, "unload", "--force"); code != 0 {
			t.Fatal(out)
		}
		w.eventually("all that the agent has made", func() bool {
			for _, file := range []string{"applied.json", "devices.json", "state.json"} {
				if _, err := os.Stat(filepath.Join(a.RunDir, file)); err != nil {
					return false
				}
			}
			return w.disabledIPv6(a, port) == "1"
		})
		w.ping(w.guests[0], "2001:45::2")
	}
}

// Two agents on one host are one too many, whatever folders they use: the
// second says so and leaves the first alone, and so does unload.
func TestSecondAgentIsRefused(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	a, says := w.Hosts[0], []string{"an overcastd is running here"}
	w.cannotStart(a, says)
	w.cannotStart(a, says, "--run-dir", t.TempDir())
	w.cannotStart(a, says, "--run-dir", t.TempDir(), "--pin-path", a.PinPath+"-other")
	if out, err := a.Run(t.Context(), overcast, "unload", "--pin-path", a.PinPath, "--run-dir", t.TempDir()); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("unload with another run folder: %v\n%s", err, out)
	}
	// The same pins seen from another network namespace.
	if _, err := w.Hosts[1].StartAgent(overcastd, append(w.agentFlags(), "--run-dir", t.TempDir(), "--pin-path", a.PinPath)...); err == nil || !strings.Contains(err.Error(), says[0]) {
		t.Errorf("a second agent on the same pins: %v", err)
	}
	w.ping(w.guests[0], "2001:45::2")
	if ended, _ := w.agents[0].Ended(); ended {
		t.Error("the first agent ended")
	}
}

// Where another device holds the tunnel port, the agent names it and strips
// nothing, so that device's own traffic goes on; when it goes, ours comes.
func TestPortHeldByAnotherDevice(t *testing.T) {
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t}
	for i, h := range w.Hosts {
		w.addGuest(h, "g"+string(rune('1'+i)), lab.GuestOptions{})
	}
	a, b := w.Hosts[0], w.Hosts[1]
	// A point-to-point VXLAN of somebody else between the same hosts.
	for i, h := range w.Hosts {
		other := w.Hosts[1-i]
		if err := h.AddVXLAN(lab.VXLAN{VNI: 9, Local: h.VTEP, Remote: other.VTEP, MTU: 1450, Address: netip.MustParsePrefix(fmt.Sprintf("172.16.0.%d/24", i+1))}); err != nil {
			t.Fatal(err)
		}
	}
	// A report of a guest to a remote whose MAC is not known yet would need the
	// tunnel device, and be dropped.
	w.run(a.Namespace, "ping", "-n", "-c", "1", "-W", "2", w.Hosts[1].VTEP.String())
	t.Cleanup(w.explain)
	w.start()
	for _, h := range w.Hosts {
		if got := w.status(h).Tunnel.Error; !strings.Contains(got, "4789") || !strings.Contains(got, "nested0") {
			t.Errorf("%s: the status does not name the other device: %q", h.Name, got)
		}
	}
	w.run(a.Namespace, "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "172.16.0.2")
	w.noDrops()
	for _, h := range []*lab.Host{a, b} {
		if err := h.LinkDelete("nested0"); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range w.Hosts {
		if err := w.agents[i].Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		w.eventually("the port", func() bool { return w.status(h).Tunnel.Error == "" })
	}
	w.ping(w.guests[0], "2001:45::2")
}
