// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another agent works here.
var ErrLocked = errors.New("an overcastd is running here")

// namespaceLock is the name of an abstract socket, which exists once in each
// network namespace, as the tunnel device does.
const namespaceLock = "@overcast/overcastd"

// Lock is held by whoever may change the datapath. It has a part for each
// thing that two must not share: the run folder with the report, the network
// namespace with its devices, and the pin folder, which other namespaces may
// see. The kernel lets go of all of them when the holder dies, however that
// dies.
type Lock struct {
	file   *os.File      // an open file description lock: others can ask for it without taking it
	socket *net.UnixConn // bound to namespaceLock
	pins   *os.File      // flock(2) of the pin folder; nil before HoldPins
}

func lockPath(runDir string) string {
	return filepath.Join(runDir, "overcastd.lock")
}

// AcquireLock makes the run folder and takes its lock and that of the network
// namespace. It does not wait; the error is ErrLocked, wrapped, if somebody
// has either.
func AcquireLock(runDir string) (*Lock, error) {
	file, err := lockFile(runDir)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: namespaceLock, Net: "unixgram"})
	if err != nil {
		file.Close()
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock of this network namespace, which is not that of run folder %s: %w", runDir, ErrLocked)
		}
		return nil, fmt.Errorf("lock of the network namespace: %w", err)
	}
	return &Lock{file: file, socket: socket}, nil
}

func lockFile(runDir string) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	file, err := os.OpenFile(lockPath(runDir), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &whole); err != nil {
		file.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return file, nil
}

// HoldPins takes the lock of the pin folder too, if the folder is there, and
// takes it again if the folder is another one than before.
func (l *Lock) HoldPins(pinPath string) error {
	if l.pins != nil && isAt(l.pins, pinPath) {
		return nil
	}
	folder, err := os.Open(pinPath)
	if err != nil {
		if absent(err) == nil {
			return nil
		}
		return fmt.Errorf("lock of the pin folder: %w", err)
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		folder.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return fmt.Errorf("lock of the pin folder %s: %w", pinPath, err)
	}
	if l.pins != nil {
		l.pins.Close()
	}
	l.pins = folder
	return nil
}

// Renew takes the lock of the run folder again if somebody has removed its
// file: by it others see whether an agent lives.
func (l *Lock) Renew(runDir string) error {
	if isAt(l.file, lockPath(runDir)) {
		return nil
	}
	file, err := lockFile(runDir)
	if err != nil {
		return err
	}
	l.file.Close()
	l.file = file
	return nil
}

// isAt tells whether an open file is still the one of a path.
func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// Release gives the lock back.
func (l *Lock) Release() {
	l.file.Close()
	l.socket.Close()
	if l.pins != nil {
		l.pins.Close()
	}
}

// IsLocked tells whether an agent lives, without disturbing it.
func IsLocked(runDir string) (bool, error) {
	file, err := os.Open(lockPath(runDir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock: %w", err)
	}
	defer file.Close()
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &whole); err != nil {
		return false, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return whole.Type != unix.F_UNLCK, nil
}
