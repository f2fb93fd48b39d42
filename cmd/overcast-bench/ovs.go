// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"overcast/test/lab"
)

// openVSwitch is Open vSwitch with its datapath in userspace, the only one that
// a kernel without its module has. It says nothing of its kernel datapath.
const openVSwitch = "Open vSwitch, userspace"

// ovsSchema is where Debian's package has the schema of its database.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// ovsInstalled tells whether this machine has Open vSwitch.
func ovsInstalled() bool {
	for _, program := range []string{"ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-appctl"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	_, err := os.Stat(ovsSchema)
	return err == nil
}

// ovs is the switch of one host.
type ovs struct {
	host *lab.Host
	dir  string
}

// connectOVS joins the guests by a switch on each host. Its packets come and go
// by packet sockets, so the guests must give it single, finished frames.
func connectOVS(p *pair, _ *options) error {
	for i, h := range p.Hosts {
		if err := p.guest(i).SingleFrames(); err != nil {
			return err
		}
		s := ovs{h, filepath.Join(h.RunDir, "ovs")}
		if err := s.start(); err != nil {
			return err
		}
		if err := s.configure(p.guest(i).Port, p.Hosts[1-i].VTEP); err != nil {
			return err
		}
	}
	// Its tunnels learn their next hops from ARP and ND that pass through it.
	for i, h := range p.Hosts {
		if _, err := h.Run(context.Background(), "ping", "-n", "-c", "1", "-W", "5", p.Hosts[1-i].VTEP.String()); err != nil {
			return err
		}
	}
	return nil
}

func (s ovs) start() error {
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return err
	}
	db, socket := filepath.Join(s.dir, "conf.db"), filepath.Join(s.dir, "db.sock")
	if err := s.run("ovsdb-tool", "create", db, ovsSchema); err != nil {
		return err
	}
	server := exec.Command("ovsdb-server", db, "--remote=punix:"+socket, "--unixctl="+filepath.Join(s.dir, "ovsdb.ctl"))
	if _, err := s.host.StartLogged("ovsdb.log", s.inDir(server)); err != nil {
		return err
	}
	if err := s.vsctl("--retry", "--no-wait", "init"); err != nil {
		return err
	}
	// All of it on the CPU that the senders are on.
	daemon := exec.Command("taskset", "-c", "0", "ovs-vswitchd", "unix:"+socket, "--unixctl="+filepath.Join(s.dir, "vswitchd.ctl"))
	_, err := s.host.StartLogged("vswitchd.log", s.inDir(daemon))
	return err
}

// inDir keeps a program's sockets and files in the switch's own folder.
func (s ovs) inDir(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+s.dir, "OVS_LOGDIR="+s.dir, "OVS_DBDIR="+s.dir)
	return cmd
}

func (s ovs) run(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := s.host.Run(ctx, name, args...)
	return err
}

func (s ovs) vsctl(args ...string) error {
	return s.run("ovs-vsctl", append([]string{"--timeout=15", "--db=unix:" + filepath.Join(s.dir, "db.sock")}, args...)...)
}

// configure makes one bridge of the uplink, with the host's address, and one of
// the guest's port and the tunnel.
func (s ovs) configure(port string, remote netip.Addr) error {
	tunnel := []string{"options:remote_ip=" + remote.String(), fmt.Sprintf("options:key=%d", vni)}
	err := errors.Join(
		s.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev", "--", "add-port", "br-phy", lab.Uplink),
		s.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "--", "add-port", "br-int", port),
		s.vsctl(append([]string{"add-port", "br-int", "vx0", "--", "set", "interface", "vx0", "type=vxlan"}, tunnel...)...),
	)
	if err != nil {
		return err
	}
	bits := 24
	if s.host.VTEP.Is6() {
		bits = 64
	}
	prefix := netip.PrefixFrom(s.host.VTEP, bits)
	return errors.Join(s.host.RemoveAddress(lab.Uplink, prefix), s.host.AddAddress("br-phy", prefix), s.host.LinkUp("br-phy"))
}

// ovsNote tells a reader why there is no Open vSwitch, or what it is.
func ovsNote() string {
	if !ovsInstalled() {
		return "Open vSwitch is not installed on this machine, and so not measured."
	}
	out, err := exec.Command("ovs-vswitchd", "--version").Output()
	version, _, _ := strings.Cut(string(out), "\n")
	if err != nil {
		version = "unknown version"
	}
	return "Open vSwitch runs its userspace datapath over packet sockets (" + version + "), on CPU 0; its guests send single frames with finished checksums. It says nothing of Open vSwitch's kernel datapath or of DPDK."
}
