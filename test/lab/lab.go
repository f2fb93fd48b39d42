// SPDX-License-Identifier: Apache-2.0

// Package lab builds hosts, an underlay and guests in network namespaces, for
// tests, the demo and the benchmark. Its underlay is a cloud's: it carries
// unicast IP between hosts and nothing else. It uses no tools of the machine.
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
)

// Family is the address family of the underlay.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns IPv4 or IPv6.
func (f Family) String() string {
	return "IPv" + strconv.Itoa(int(f))
}

// Wire is what the devices of the underlay do for large frames.
type Wire int

// The kinds of wire.
const (
	SuperFrames Wire = iota // super-frames cross whole, as with a NIC that segments tunnels
	PlainNIC                // every packet crosses by itself; the receiver merges (GRO)
	NoOffloads              // every packet crosses by itself and stays so
	NativeXDP               // a plain NIC whose driver runs an XDP program
)

// String returns a name for tables and tests.
func (w Wire) String() string {
	return [...]string{"super-frames", "plain-nic", "no-offloads", "native-xdp"}[w]
}

// Options describe a lab. The zero value is two hosts on an IPv4 underlay.
type Options struct {
	Hosts    int    // default 2
	Underlay Family // default IPv4
	MTU      int    // of the underlay, in bytes; default 1500
	Wire     Wire
	Direct   bool // two hosts on one wire and no cloud, to measure: nothing is checked on it
}

// Lab is a set of hosts on one underlay.
type Lab struct {
	Hosts   []*Host
	Dir     string // scratch folder, removed with the lab
	options Options
	name    string
	cloud   *cloud
	undo    []func() error
}

var instances atomic.Uint32

// New builds a lab. Close removes it, also one that failed half-way.
func New(options Options) (*Lab, error) {
	if options.Hosts == 0 {
		options.Hosts = 2
	}
	if options.Underlay == 0 {
		options.Underlay = IPv4
	}
	if options.MTU == 0 {
		options.MTU = 1500
	}
	l := &Lab{options: options, name: instance()}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// instance is a name that no other lab of the machine has.
func instance() string {
	return fmt.Sprintf("oc%s-%d", strconv.FormatInt(int64(os.Getpid()), 36), instances.Add(1))
}

// NewTest builds a lab for a test and removes it at its end.
func NewTest(t testing.TB, options Options) *Lab {
	t.Helper()
	l, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *Lab) build() error {
	if err := l.makeFolders(); err != nil {
		return err
	}
	if !l.options.Direct {
		var err error
		if l.cloud, err = newCloud(l); err != nil {
			return err
		}
	}
	for range l.options.Hosts {
		if _, err := l.AddHost(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) makeFolders() error {
	if err := ensureNetnsDir(); err != nil {
		return fmt.Errorf("folder of the namespaces: %w", err)
	}
	dir, err := os.MkdirTemp("", l.name+"-")
	if err != nil {
		return fmt.Errorf("scratch folder: %w", err)
	}
	l.Dir = dir
	l.defers(func() error { return os.RemoveAll(dir) })
	return nil
}

// defers adds a step to Close. Steps run in reverse order.
func (l *Lab) defers(step func() error) {
	l.undo = append(l.undo, step)
}

// Close ends the processes of the lab and removes everything that it made. It
// may be called again.
func (l *Lab) Close() error {
	var errs []error
	for _, step := range slices.Backward(l.undo) {
		errs = append(errs, step())
	}
	l.undo = nil
	return errors.Join(errs...)
}

// namespace makes a namespace of the lab.
func (l *Lab) namespace(name string) (*Namespace, error) {
	n, err := newNamespace(l.name + "-" + name)
	if err != nil {
		return nil, err
	}
	l.defers(n.close)
	return n, nil
}

// vtep is the underlay address of the i-th host, counted from 1.
func (l *Lab) vtep(i int) netip.Prefix {
	if l.options.Underlay == IPv6 {
		addr := netip.MustParseAddr("2001:db8:1::").As16()
		addr[14], addr[15] = byte(i>>8), byte(i)
		return netip.PrefixFrom(netip.AddrFrom16(addr), 64)
	}
	// 198.18.0.0/15 is for benchmarks (RFC 2544) and has room for many hosts;
	// a few hosts live in the documentation's 192.0.2.0/24.
	if l.options.Hosts < 250 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 24)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 15)
}

// Overhead is what the overlay takes of the underlay's MTU, in bytes.
func (l *Lab) Overhead() int {
	if l.options.Underlay == IPv6 {
		return 70
	}
	return 50
}

// pinRoot is the folder of the lab's pins.
func (l *Lab) pinRoot() string {
	return filepath.Join("/sys/fs/bpf", l.name)
}
