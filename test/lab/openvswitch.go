// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// OpenVSwitch is an Open vSwitch of a namespace's own: its database and daemon.
type OpenVSwitch struct {
	*Namespace
	dir string
}

// openVSwitchSchema is where Debian's package has the schema of its database.
const openVSwitchSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// HasOpenVSwitch tells whether this machine has its programs.
func HasOpenVSwitch() bool {
	for _, program := range []string{"ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-appctl"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	_, err := os.Stat(openVSwitchSchema)
	return err == nil
}

// StartOpenVSwitch starts one in a namespace, without a bridge, with its files in a
// new folder; it ends with the lab. prefix is what the daemon is started by, such
// as taskset and its arguments.
func (l *Lab) StartOpenVSwitch(n *Namespace, dir string, prefix ...string) (*OpenVSwitch, error) {
	s := &OpenVSwitch{n, dir}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of Open vSwitch: %w", err)
	}
	db := filepath.Join(dir, "conf.db")
	if err := s.run("ovsdb-tool", "create", db, openVSwitchSchema); err != nil {
		return nil, err
	}
	server := exec.Command("ovsdb-server", db, "--remote=punix:"+s.socket(), "--unixctl="+filepath.Join(dir, "ovsdb.ctl"))
	if _, err := startLogged(n, l, filepath.Join(dir, "ovsdb.log"), s.inDir(server)); err != nil {
		return nil, err
	}
	if err := s.Configure("--retry", "--no-wait", "init"); err != nil {
		return nil, err
	}
	args := append(prefix, "ovs-vswitchd", "unix:"+s.socket(), "--unixctl="+filepath.Join(dir, "vswitchd.ctl"))
	_, err := startLogged(n, l, filepath.Join(dir, "vswitchd.log"), s.inDir(exec.Command(args[0], args[1:]...)))
	return s, err
}

func (s *OpenVSwitch) socket() string {
	return filepath.Join(s.dir, "db.sock")
}

// inDir keeps a program's sockets and files in the switch's own folder.
func (s *OpenVSwitch) inDir(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+s.dir, "OVS_LOGDIR="+s.dir, "OVS_DBDIR="+s.dir)
	return cmd
}

func (s *OpenVSwitch) run(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := s.Run(ctx, name, args...)
	return err
}

// AddTunnel makes a bridge of the kernel's datapath, with a tunnel to a remote.
func (s *OpenVSwitch) AddTunnel(kind string, vni uint32, local, remote netip.Addr) error {
	return errors.Join(
		s.Configure("add-br", switchBridge),
		s.Configure("add-port", switchBridge, "tunnel", "--", "set", "interface", "tunnel", "type="+kind,
			"options:local_ip="+local.String(), "options:remote_ip="+remote.String(), fmt.Sprintf("options:key=%d", vni)))
}

// Configure runs ovs-vsctl.
func (s *OpenVSwitch) Configure(args ...string) error {
	return s.run("ovs-vsctl", append([]string{"--timeout=15", "--db=unix:" + s.socket()}, args...)...)
}
