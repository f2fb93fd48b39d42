// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"overcast/test/lab"
)

// machine is a namespace with an /etc, a /run and a /var/log of its own and with
// processes that all end with it: daemons run there as on their users' machines.
type machine struct {
	*lab.Namespace
	w    *world
	name string
	init *lab.Process
	runs int
}

// boot makes a machine of a namespace.
func (w *world) boot(name string, n *lab.Namespace) *machine {
	w.t.Helper()
	cmd := exec.Command("sh", "-euc", `mount --make-rprivate /
mount -t proc proc /proc
cp -a /etc "$0"
mount --bind "$0" /etc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
trap "exit 0" TERM
echo booted
sleep infinity & wait`, filepath.Join(w.Dir, name+"-etc"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	init, err := w.StartLogged(n, name+"-init.log", cmd)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &machine{Namespace: n, w: w, name: name, init: init}
	w.eventually("the boot of "+name, func() bool { return strings.Contains(init.Log(), "booted") })
	return m
}

// command prepares a program of the machine.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", fmt.Sprint(m.init.PID()), "--mount", "--pid", "--", name}, args...)...)
}

// launch starts a program, which ends with the machine.
func (m *machine) launch(name string, args ...string) *lab.Process {
	m.w.t.Helper()
	m.runs++
	process, err := m.w.StartLogged(m.Namespace, fmt.Sprintf("%s-%d-%s.log", m.name, m.runs, filepath.Base(name)), m.command(name, args...))
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.w.t.Cleanup(func() {
		if m.w.t.Failed() {
			m.w.t.Logf("%s: %s %s\n%s", m.name, name, strings.Join(args, " "), process.Log())
		}
	})
	return process
}

// shell runs commands to their end, and leaves running what they have started.
// It returns what was printed.
func (m *machine) shell(commands string) string {
	m.w.t.Helper()
	p := m.launch("sh", "-euc", commands)
	m.w.eventually("the end of commands in "+m.name, func() bool { ended, _ := p.Ended(); return ended })
	if _, err := p.Ended(); err != nil {
		m.w.t.Fatalf("%s: %v\n%s", m.name, err, commands)
	}
	return p.Log()
}

// Machines keep their files to themselves, and nothing of them outlives them.
func TestMachine(t *testing.T) {
	t.Parallel()
	w := &world{Lab: lab.NewTest(t, lab.Options{Hosts: 1}), t: t}
	m := w.boot("g1", w.addGuest(w.Hosts[0], "g1", lab.GuestOptions{}).Namespace)
	m.shell("echo mine >/etc/overcast-test; echo mine >/run/overcast-test; sleep 12345 &")
	if out := m.shell("cat /etc/overcast-test /run/overcast-test; ps ax"); !strings.HasPrefix(out, "mine\nmine\n") || !strings.Contains(out, "sleep 12345") {
		t.Errorf("the machine has\n%s", out)
	}
	if out, err := exec.Command("ls", "/etc/overcast-test", "/run/overcast-test").Output(); err == nil {
		t.Errorf("the machine's files are everybody's: %s", out)
	}
	m.init.Stop()
	if out, err := exec.Command("pgrep", "-f", "sleep 12345").Output(); err == nil {
		t.Errorf("a daemon outlives its machine: %s", out)
	}
}
