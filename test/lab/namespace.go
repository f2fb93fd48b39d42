// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceRoot is where iproute2, and so everybody, looks for named network
// namespaces.
const namespaceRoot = "/run/netns"

// ErrClosed is returned by whatever is asked of a namespace that has been
// taken down.
var ErrClosed = errors.New("the namespace is closed")

// A Namespace is one network namespace of a lab. A person enters it with
//
//	nsenter --net=/run/netns/NAME
//
// and not with `ip netns exec`, which mounts a fresh /sys and so hides the
// BPF file system. All methods are safe for use from several goroutines.
type Namespace struct {
	// Name is its file name below /run/netns.
	Name string

	handle netns.NsHandle
	links  *netlink.Handle

	mu        sync.Mutex
	closed    bool
	processes map[*Process]struct{}
}

// newNamespace makes a namespace with its loopback device up.
func newNamespace(name string) (*Namespace, error) {
	handle, err := createNamespace(name)
	if err != nil {
		return nil, fmt.Errorf("making namespace %s: %w", name, err)
	}
	n := &Namespace{Name: name, handle: handle, processes: map[*Process]struct{}{}}
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("namespace %s: %w", name, err), n.Close())
	}
	return n, nil
}

func (n *Namespace) open() (err error) {
	if n.links, err = netlink.NewHandleAt(n.handle, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	lo, err := n.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	if err := n.links.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// createNamespace makes a named namespace from a thread that never comes back
// to the scheduler in a wrong namespace.
func createNamespace(name string) (netns.NsHandle, error) {
	handle := netns.None()
	err := onOwnThread(func() error {
		return awayFromHome(func() (err error) {
			handle, err = netns.NewNamed(name)
			if err != nil && !errors.Is(err, fs.ErrExist) {
				err = errors.Join(err, removeNamespace(name))
			}
			return err
		})
	})
	return handle, err
}

// Path returns the file that holds the namespace, for setns and nsenter.
func (n *Namespace) Path() string { return filepath.Join(namespaceRoot, n.Name) }

// Netlink returns a netlink socket (NETLINK_ROUTE) inside the namespace, good
// from any thread.
func (n *Namespace) Netlink() *netlink.Handle { return n.links }

// Do runs fn on a thread inside the namespace and returns its error. Sockets
// and devices that fn opens belong to the namespace and stay there. A panic
// and a runtime.Goexit (so also t.FailNow) in fn go on in the caller. What fn
// starts with `go` runs elsewhere.
func (n *Namespace) Do(fn func() error) error {
	return onOwnThread(func() error {
		return awayFromHome(func() error {
			if err := n.enter(); err != nil {
				return err
			}
			return fn()
		})
	})
}

// enter moves the calling thread, which must be locked, into the namespace.
func (n *Namespace) enter() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("entering %s: %w", n.Name, ErrClosed)
	}
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("entering namespace %s: %w", n.Name, err)
	}
	return nil
}

// onOwnThread runs fn in a new goroutine and waits for it, passing on its
// panic or its exit. The goroutine may leave its thread locked: the thread
// then ends with it instead of going back to the scheduler.
func onOwnThread(fn func() error) error {
	var (
		err      error
		panicked any
		exited   = true
		done     = make(chan struct{})
	)
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				panicked, exited = fmt.Sprintf("%v\n\n%s", p, debug.Stack()), false
			}
		}()
		err = fn()
		exited = false
	}()
	<-done
	switch {
	case panicked != nil:
		panic(panicked)
	case exited:
		runtime.Goexit()
	}
	return err
}

// awayFromHome locks the thread, lets fn change the thread's namespace, and
// brings it back. A thread that cannot be brought back stays locked.
func awayFromHome(fn func() error) (err error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the thread's own namespace: %w", err)
	}
	defer home.Close()
	defer func() {
		if back := netns.Set(home); back != nil {
			err = errors.Join(err, fmt.Errorf("coming back from a namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return fn()
}

// Sysctl writes a setting of the namespace, named by its path below
// /proc/sys/net, such as "ipv4/ip_forward".
func (n *Namespace) Sysctl(name, value string) error {
	err := n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0)
	})
	if err != nil {
		return fmt.Errorf("setting net/%s of %s to %s: %w", name, n.Name, value, err)
	}
	return nil
}

// Close kills the processes that were started here and removes the namespace
// with all its devices. It may be called again.
func (n *Namespace) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	running := make([]*Process, 0, len(n.processes))
	for p := range n.processes {
		running = append(running, p)
	}
	n.mu.Unlock()

	for _, p := range running {
		p.Kill()
		<-p.Done()
	}
	if n.links != nil {
		n.links.Close()
	}
	return errors.Join(n.handle.Close(), removeNamespace(n.Name))
}

// removeNamespace takes the name of a namespace away; the kernel takes down
// what nobody uses any more. A name that is gone is fine.
func removeNamespace(name string) error {
	path := filepath.Join(namespaceRoot, name)
	// EINVAL: the file is there but nothing is mounted on it.
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing namespace %s: %w", name, err)
	}
	return nil
}
