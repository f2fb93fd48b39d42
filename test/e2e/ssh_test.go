// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"overcast/test/lab"
)

// terminal is an interactive session of ssh, whose other end echoes lines.
type terminal struct {
	w       *world
	name    string
	in      io.Writer
	out     chan string
	written int
}

// openTerminal logs in to an address from a machine.
func (w *world) openTerminal(from *machine, key, address string) *terminal {
	w.t.Helper()
	// With a terminal (-tt) ssh sends each line at once, and under another DSCP.
	cmd := from.command("ssh", "-tt", "-F", "/dev/null", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "root@"+address, "stty -echo -onlcr; echo ready; exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := from.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	s := &terminal{w: w, name: "ssh to " + address, in: in, out: make(chan string, 10_000)}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.out <- lines.Text()
		}
		close(s.out)
	}()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	w.eventually("the login", func() bool { // which may have things to say
		select {
		case line := <-s.out:
			return line == "ready"
		default:
			return false
		}
	})
	return s
}

// expect waits for a line, which has to be the next one.
func (s *terminal) expect(want string) {
	s.w.t.Helper()
	select {
	case got, open := <-s.out:
		if got != want {
			s.w.t.Fatalf("%s: %q came, and not %q; open: %t", s.name, got, want, open)
		}
	case <-time.After(20 * time.Second):
		s.w.t.Fatalf("%s: %q never came", s.name, want)
	}
}

// use writes a few numbered lines, and waits for them to come back in order.
func (s *terminal) use(lines int) {
	s.w.t.Helper()
	first := s.written
	for range lines {
		if _, err := fmt.Fprintf(s.in, "line %d\n", s.written); err != nil {
			s.w.t.Fatalf("%s: %v", s.name, err)
		}
		s.written++
		time.Sleep(5 * time.Millisecond) // as somebody types
	}
	for i := first; i < s.written; i++ {
		s.expect(fmt.Sprintf("line %d", i))
	}
}

// Sessions of ssh over both families go on through the end of each agent, with
// none there, through its start, and through reloads: in use, and idle at that
// time and used again.
func TestSSH(t *testing.T) {
	t.Parallel()
	for _, decap := range []string{"xdp", "tc"} {
		t.Run(decap, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, lab.Options{}, lab.GuestOptions{}, "--decap", decap)
			client, server := w.boot("client", w.guests[0].Namespace), w.boot("server", w.guests[1].Namespace)
			key := filepath.Join(w.Dir, "key")
			// sshd keeps out an account that is locked.
			server.shell("mkdir -p /run/sshd; sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow; ssh-keygen -q -t ed25519 -N '' -f " + key)
			daemon := server.launch("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", key, "-o", "AuthorizedKeysFile="+key+".pub",
				"-o", "StrictModes=no", "-o", "PermitRootLogin=yes", "-o", "PidFile=none")
			w.eventually("the server", func() bool { return strings.Contains(daemon.Log(), "listening on ::") })
			var used, idle []*terminal
			for _, address := range []string{"10.9.0.2", "2001:45::2"} {
				used = append(used, w.openTerminal(client, key, address))
				idle = append(idle, w.openTerminal(client, key, address))
			}
			use := func() {
				t.Helper()
				for _, s := range used {
					s.use(20)
				}
			}
			use()
			for i, h := range w.Hosts {
				w.agents[i].Kill()
				use()
				w.agents[i] = w.startAgent(h)
				use()
			}
			w.noDrops()
			w.addGuest(w.Hosts[1], "g3", lab.GuestOptions{})
			w.rewrite()
			use()
			w.ports = w.ports[:2]
			w.rewrite()
			use()
			for _, s := range idle {
				s.use(20)
			}
			w.clean()
		})
	}
}
