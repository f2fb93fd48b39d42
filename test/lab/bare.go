// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"io"
	"os/exec"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
)

// NewBare makes a lab without an underlay and without hosts: namespaces and
// devices are the caller's to make. Close removes them.
func NewBare() (*Lab, error) {
	l := &Lab{name: instance()}
	if err := l.makeFolders(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// AddNamespace makes a namespace of the lab, with its loopback up.
func (l *Lab) AddNamespace(name string) (*Namespace, error) {
	return l.namespace(name)
}

// StartLogged starts a program in a namespace, with its output going to a file
// of this name in the lab's folder. It ends with the lab.
func (l *Lab) StartLogged(n *Namespace, log string, cmd *exec.Cmd) (*Process, error) {
	return startLogged(n, l, filepath.Join(l.Dir, log), cmd)
}

// Join makes a veth pair between two namespaces. Its ends have the same name,
// are up, and carry no IPv6 of the namespaces' own.
func Join(a, b *Namespace, name string) error {
	if err := addPair(end{in: a, name: name}, end{in: b, name: name}); err != nil {
		return err
	}
	return errors.Join(a.noIPv6(name), b.noIPv6(name), a.LinkUp(name), b.LinkUp(name))
}

// LinkIndex returns a device's index.
func (n *Namespace) LinkIndex(name string) (uint32, error) {
	var index uint32
	err := n.withLink(name, func(link netlink.Link) error {
		index = uint32(link.Attrs().Index)
		return nil
	})
	return index, err
}

// AttachIngress puts a program at a device's tc ingress. It ends with the
// device, and with tcx when it is closed.
func (n *Namespace) AttachIngress(device string, program *ebpf.Program) (io.Closer, error) {
	var attached io.Closer
	err := n.withLink(device, func(link netlink.Link) (err error) {
		attached, err = attachIngress(link, program)
		return err
	})
	return attached, err
}
