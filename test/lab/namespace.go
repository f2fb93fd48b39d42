// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip(8) and nsenter(1) look for named namespaces.
const netnsDir = "/run/netns"

// ensureNetnsDir makes the folder of the names a mount of its own that is
// shared, as the machine's first `ip netns add` would (iproute2, ip/ipnetns.c).
// If that came later, while our names are in use, it would mount each of them a
// second time, and they could not be removed. The lock is iproute2's too.
func ensureNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", netnsDir, err)
	}
	err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("sharing %s: %w", netnsDir, err)
	}
	return nil
}

// Namespace is a named network namespace.
type Namespace struct {
	namespace string
	handle    netns.NsHandle
}

// newNamespace makes a namespace, with its loopback up.
func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{namespace: name}
	made := make(chan error, 1)
	go func() {
		// Making a namespace enters it; this thread is not used again.
		runtime.LockOSThread()
		var err error
		n.handle, err = netns.NewNamed(name)
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return n, n.Do(loopbackUp)
}

// Path is the file that nsenter --net= takes.
func (n *Namespace) Path() string {
	return filepath.Join(netnsDir, n.namespace)
}

// Do runs a function inside the namespace, on a thread of its own. What it
// opens or starts belongs to the namespace. It must not start goroutines that
// rely on being there.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		here, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("current namespace: %w", err)
			return
		}
		defer here.Close()
		if err := netns.Set(n.handle); err != nil {
			done <- fmt.Errorf("entering namespace %s: %w", n.namespace, err)
			return
		}
		err = f()
		// Without a way back the thread stays locked and dies.
		if back := netns.Set(here); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Start starts a prepared program in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	// The child is made by the thread that is in the namespace.
	return n.Do(cmd.Start)
}

// Run runs a program in the namespace to its end and returns what it printed.
// The error has that too.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		return "", fmt.Errorf("%s: starting %s: %w", n.namespace, name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %s %s: %w\n%s", n.namespace, name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// Sysctl writes a setting below /proc/sys of the namespace.
func (n *Namespace) Sysctl(key, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
			return fmt.Errorf("%s: setting %s: %w", n.namespace, key, err)
		}
		return nil
	})
}

// close removes the name; the namespace ends with its last process.
func (n *Namespace) close() error {
	n.handle.Close()
	if err := netns.DeleteNamed(n.namespace); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing namespace %s: %w", n.namespace, err)
	}
	return nil
}
