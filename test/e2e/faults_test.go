// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// hangUp makes the first agent read its documents again and waits for it.
func (w *world) hangUp() {
	w.t.Helper()
	before := w.agents[0].Log()
	if err := w.agents[0].Signal(unix.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the reload", func() bool {
		return strings.Contains(strings.TrimPrefix(w.agents[0].Log(), before), "configuration ")
	})
}

// Whatever becomes of programs and pins under a living agent, it puts all of
// it back.
func TestPinsComeBack(t *testing.T) {
	for _, decap := range []string{"xdp", "tc"} {
		t.Run(decap, func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--decap", decap)
			a := w.Hosts[0]
			w.ping(w.guests[0], "2001:45::2")
			for _, folder := range []string{a.PinPath, filepath.Join(a.PinPath, "links"), ""} {
				if folder != "" {
					if err := os.RemoveAll(folder); err != nil {
						t.Fatal(err)
					}
				} else if code, out := w.command(a, "unload", "--force"); code != 0 {
					t.Fatal(out) // and the agent sees the end of oc0 itself
				}
				w.hangUp()
				w.ping(w.guests[0], "2001:45::2")
				w.ping(w.guests[1], "10.9.0.1")
				if s := w.status(a); s.Config.Error != "" || len(s.Problems) > 0 {
					t.Errorf("status: %+v", s)
				}
			}
		})
	}
}

// An agent that starts where the documents have become wrong keeps the running
// state, with its names and counters, and goes on following the machine.
func TestRestartWithWrongDocument(t *testing.T) {
	for name, flags := range map[string][]string{"a broken document": nil, "another host": {"--host", "host-z"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--metrics", "127.0.0.1:9469")
			a, good := w.Hosts[0], w.document()
			w.ping(w.guests[0], "2001:45::2")
			before := w.port(a, "g1")
			applied := w.status(a).Config.Applied
			w.agents[0].Kill()
			if flags == nil {
				if err := a.WriteDocument("hosts: ["); err != nil {
					t.Fatal(err)
				}
			}
			p, err := a.StartAgent(overcastd, append(w.agentFlags(), flags...)...)
			if err != nil {
				t.Fatal(err)
			}
			w.agents[0] = p
			s := w.status(a)
			if s.Config.Error == "" || s.Config.Applied != applied || s.Host != "host-a" || s.Ports != 1 || s.Segments != 1 || s.Remotes != 1 {
				t.Errorf("status: %+v", s)
			}
			if after := w.port(a, "g1"); after.InPackets < before.InPackets || after.State != "up" {
				t.Errorf("the port was %+v and is %+v", before, after)
			}
			for _, want := range []string{
				"\novercast_config_last_reload_successful 0\n",
				"\n" + `overcast_port_up{environment="shop",port="g1",segment="lan"} 1` + "\n",
				"\novercast_datapath_in_line 1\n",
				"\novercast_tunnel_up 1\n",
			} {
				if !strings.Contains(w.metrics(a), want) {
					t.Errorf("the metrics lack %s", want)
				}
			}
			// The port's device is made anew.
			if err := w.guests[0].Detach(); err != nil {
				t.Fatal(err)
			}
			w.eventually("its end", func() bool { return w.port(a, "g1").State == "missing" })
			if err := w.guests[0].Attach(); err != nil {
				t.Fatal(err)
			}
			w.eventually("the port", func() bool { return w.port(a, "g1").State == "up" })
			w.ping(w.guests[0], "2001:45::2")

			if flags == nil {
				if err := a.WriteDocument(good); err != nil {
					t.Fatal(err)
				}
				w.eventually("the recovery", func() bool { return w.status(a).Config.Error == "" })
			}
		})
	}
}

// cannotStart starts an agent that must end with an error that says all this.
func (w *world) cannotStart(h *lab.Host, says []string, flags ...string) {
	w.t.Helper()
	p, err := h.StartAgent(overcastd, append(w.agentFlags(), flags...)...)
	if err == nil {
		p.Kill()
		w.t.Errorf("an agent with %v is ready", flags)
		return
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		w.t.Errorf("an agent with %v: %v; want exit 1", flags, err)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("an agent with %v does not say %q: %v", flags, text, err)
		}
	}
}

// A first start that cannot work is no start: it ends with the error, and
// leaves nothing behind.
func TestFirstStartThatCannotWork(t *testing.T) {
	w := &world{Lab: lab.NewTest(t, lab.Options{}), t: t}
	w.addGuest(w.Hosts[0], "g1", lab.GuestOptions{})
	a, good := w.Hosts[0], w.document()
	// The lab has switched it off, as a good host does.
	if err := a.Sysctl("net/ipv6/conf/"+w.guests[0].Port+"/disable_ipv6", "0"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		document string
		flags    []string
		says     string
	}{
		{"hosts: [", nil, "lab.yaml:"},
		{good, []string{"--host", "host-z"}, `host "host-z" is not among the configured hosts`},
		{good, []string{"--underlay", "2001:db8::1"}, "underlay 2001:db8::1: the vtep of host host-a is 192.0.2.1"},
		{strings.Replace(good, "interface: "+w.guests[0].Port, "interface: eth0", 1), nil, "port shop/lan/g1: eth0 has this host's tunnel address"},
		{good, []string{"--decap", "xdp", "--uplink", "lo"}, "uplink lo has no native XDP"},
	} {
		if err := a.WriteDocument(c.document); err != nil {
			t.Fatal(err)
		}
		w.cannotStart(a, []string{c.says}, c.flags...)
		for _, path := range []string{filepath.Join(a.RunDir, "state.json"), a.PinPath} {
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s: there is %s", c.says, path)
			}
		}
		if out := w.run(a.Namespace, "ip", "-d", "link"); strings.Contains(out, "oc0") || strings.Contains(out, "xdp") {
			t.Errorf("%s: left behind:\n%s", c.says, out)
		}
		if got := w.disabledIPv6(a, w.guests[0].Port); got != "0" {
			t.Errorf("%s: disable_ipv6 of %s is %s", c.says, w.guests[0].Port, got)
		}
	}
}

// disabledIPv6 is the sysctl of a host's device.
func (w *world) disabledIPv6(h *lab.Host, device string) string {
	w.t.Helper()
	return strings.TrimSpace(w.run(h.Namespace, "cat", "/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6"))
}

// Pins elsewhere are another datapath: it is not started in front of or behind
// the one that runs, which is named.
func TestOtherPinPath(t *testing.T) {
	w := newWorld(t, lab.Options{}, lab.GuestOptions{})
	a := w.Hosts[0]
	w.ping(w.guests[0], "2001:45::2")
	w.agents[0].Kill()
	w.cannotStart(a, []string{"overcast unload --pin-path " + a.PinPath}, "--pin-path", a.PinPath+"-other")
	w.ping(w.guests[0], "2001:45::2")
	w.agents[0] = w.startAgent(a)
	w.ping(w.guests[0], "2001:45::2")
}
