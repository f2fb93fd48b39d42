// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// claimRoot holds a folder for every lab on this machine. A folder is locked
// as long as the process that made the lab lives, so that what a killed process
// left behind can be told from what is in use, and is swept up.
const claimRoot = "/run/overcast-lab"

// Names inside the folder of a lab.
const (
	claimLock       = "lock"
	claimNamespaces = "namespaces" // one empty file per namespace, made before the namespace
)

// A claim is the right to a name, and to all that is named after it: the folder
// below claimRoot, the namespaces noted there, and the folder in the BPF file
// system.
type claim struct {
	name string
	dir  string
	lock *os.File
}

// claimName sweeps up after dead processes, then claims the wanted name or, if
// that is taken, the wanted name with a number.
func claimName(wanted string) (*claim, error) {
	if err := os.MkdirAll(claimRoot, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of all labs: %w", err)
	}
	// Between the making of a lab's folder and its lock, another process
	// would take it for a dead one's.
	all, err := lockFile(filepath.Join(claimRoot, claimLock), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if err := sweep(); err != nil {
		return nil, err
	}
	name := wanted
	for i := 2; ; i++ {
		c, err := newClaim(name)
		if !errors.Is(err, fs.ErrExist) {
			return c, err
		}
		name = fmt.Sprintf("%s-%d", wanted, i)
	}
}

func newClaim(name string) (*claim, error) {
	c := &claim{name: name, dir: filepath.Join(claimRoot, name)}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("claiming %s: %w", name, err)
	}
	if err := os.Mkdir(filepath.Join(c.dir, claimNamespaces), 0o755); err != nil {
		return nil, fmt.Errorf("claiming %s: %w", name, err)
	}
	lock, err := lockFile(filepath.Join(c.dir, claimLock), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, err
	}
	c.lock = lock
	return c, nil
}

// namespace makes a namespace under the claim, named after it.
func (c *claim) namespace(name string) (*Namespace, error) {
	name = c.name + "-" + name
	note := filepath.Join(c.dir, claimNamespaces, name)
	if err := os.WriteFile(note, nil, 0o644); err != nil {
		return nil, fmt.Errorf("noting namespace %s: %w", name, err)
	}
	return newNamespace(name)
}

// release removes all that is named after the claim, and then the claim.
func (c *claim) release() error {
	return errors.Join(c.clear(), c.lock.Close())
}

func (c *claim) clear() error {
	notes, err := os.ReadDir(filepath.Join(c.dir, claimNamespaces))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the namespaces of lab %s: %w", c.name, err)
	}
	var errs []error
	for _, note := range notes {
		errs = append(errs, removeNamespace(note.Name()))
	}
	errs = append(errs, removePins(c.name))
	if err := errors.Join(errs...); err != nil {
		return err // the folder stays, so that the next sweep tries again
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("removing the folder of lab %s: %w", c.name, err)
	}
	return nil
}

// sweep removes the labs of processes that are no more. The caller holds the
// lock of all labs.
func sweep() error {
	entries, err := os.ReadDir(claimRoot)
	if err != nil {
		return fmt.Errorf("reading the folder of all labs: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		c := &claim{name: entry.Name(), dir: filepath.Join(claimRoot, entry.Name())}
		c.lock, err = lockFile(filepath.Join(c.dir, claimLock), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			continue // its process lives
		case errors.Is(err, fs.ErrNotExist):
			continue // its process has just removed it
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, c.release())
		}
	}
	return errors.Join(errs...)
}

// lockFile opens a file, making it if its folder exists, and locks it (flock)
// until the file is closed or the process dies.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
	}
}
