// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Uplink is the name of every host's device on the underlay.
const Uplink = "eth0"

// Host is a machine of the underlay. Its agent is the caller's business.
type Host struct {
	*Namespace
	Name    string // host-a, host-b, ...
	VTEP    netip.Addr
	PinPath string
	RunDir  string

	lab    *Lab
	door   string // the cloud's end of its wire
	guests int
}

// AddHost adds a host to the underlay.
func (l *Lab) AddHost() (*Host, error) {
	name := hostName(len(l.Hosts))
	n, err := l.namespace(name)
	if err != nil {
		return nil, err
	}
	prefix := l.vtep(len(l.Hosts) + 1)
	h := &Host{
		Namespace: n,
		Name:      name,
		VTEP:      prefix.Addr(),
		PinPath:   filepath.Join(l.pinRoot(), name),
		RunDir:    filepath.Join(l.Dir, name),
		lab:       l,
	}
	l.defers(func() error { return errors.Join(os.RemoveAll(h.PinPath), removeEmpty(l.pinRoot())) })
	if err := os.Mkdir(h.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	if l.options.Direct {
		err = l.join(h)
	} else {
		h.door, err = l.connect(n, Uplink, prefix)
	}
	if err != nil {
		return nil, err
	}
	l.Hosts = append(l.Hosts, h)
	return h, nil
}

// join makes the wire between the two hosts of a direct lab, when the second
// of them comes.
func (l *Lab) join(second *Host) error {
	if len(l.Hosts) == 0 {
		return nil
	}
	if len(l.Hosts) > 1 {
		return errors.New("a direct wire has two ends: want two hosts")
	}
	first := l.Hosts[0]
	err := addPair(end{in: first.Namespace, name: Uplink, mtu: l.options.MTU}, end{in: second.Namespace, name: Uplink, mtu: l.options.MTU})
	if err != nil {
		return err
	}
	for i, h := range []*Host{first, second} {
		if err := l.raise(h.Namespace, Uplink, l.vtep(i+1)); err != nil {
			return err
		}
	}
	return nil
}

// raise sets an uplink up as the lab's kind of wire, with its address.
func (l *Lab) raise(n *Namespace, uplink string, prefix netip.Prefix) error {
	if err := n.quietIPv6(uplink); err != nil {
		return err
	}
	if err := n.LinkUp(uplink); err != nil {
		return err
	}
	if err := n.AddAddress(uplink, prefix); err != nil {
		return err
	}
	return n.setWire(uplink, l.options.Wire)
}

// AddHostAddress gives a host one more address on the underlay.
func (l *Lab) AddHostAddress(h *Host, prefix netip.Prefix) error {
	return errors.Join(l.cloud.allow(prefix.Addr()), h.AddAddress(Uplink, prefix))
}

// Unplug pulls the host's cable to the underlay, at the cloud's end.
func (h *Host) Unplug() error {
	return h.lab.cloud.LinkDown(h.door)
}

// Plug puts it in again.
func (h *Host) Plug() error {
	return h.lab.cloud.LinkUp(h.door)
}

// hostName returns host-a to host-z, then host-27 and so on.
func hostName(i int) string {
	if i < 26 {
		return "host-" + string(rune('a'+i))
	}
	return fmt.Sprintf("host-%d", i+1)
}

// connect gives a namespace an uplink with an address, and returns the cloud's
// end of it.
func (l *Lab) connect(n *Namespace, uplink string, prefix netip.Prefix) (door string, err error) {
	if door, err = l.cloud.plug(l, n, uplink, l.options.MTU); err != nil {
		return "", err
	}
	// The kernel's own probes of neighbours come from the link-local address.
	linkLocal, err := n.linkLocal(uplink)
	if err != nil {
		return "", err
	}
	if err := errors.Join(l.cloud.allow(prefix.Addr()), l.cloud.allow(linkLocal)); err != nil {
		return "", err
	}
	if err := l.raise(n, uplink, prefix); err != nil {
		return "", err
	}
	return door, l.cloud.setWire(door, l.options.Wire)
}

func removeEmpty(dir string) error {
	err := os.Remove(dir)
	if err != nil && !os.IsNotExist(err) {
		if entries, readErr := os.ReadDir(dir); readErr == nil && len(entries) > 0 {
			return nil // other hosts' pins are still there
		}
		return err
	}
	return nil
}

// Process is a program that runs until it is told to end.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	log  string
}

// StartLogged starts a program in the host's namespace, with its output going
// to a file of this name in the host's run folder. It ends with the lab.
func (h *Host) StartLogged(log string, cmd *exec.Cmd) (*Process, error) {
	return startLogged(h.Namespace, h.lab, filepath.Join(h.RunDir, log), cmd)
}

func startLogged(n *Namespace, l *Lab, path string, cmd *exec.Cmd) (*Process, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := n.Start(cmd); err != nil {
		return nil, fmt.Errorf("%s: starting %s: %w", n.namespace, cmd.Path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), log: path}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	l.defers(func() error {
		p.Stop()
		return nil
	})
	return p, nil
}

// Log returns what the program has printed.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// PID is the process's number.
func (p *Process) PID() int {
	return p.cmd.Process.Pid
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error {
	return p.cmd.Process.Signal(s)
}

// Ended tells whether the process has ended, and how.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// Stop asks the process to end and waits; after a while it kills it.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(unix.SIGTERM) // one that has ended already is fine
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Kill ends the process at once and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}
