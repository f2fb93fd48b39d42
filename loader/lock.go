// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another agent works with this run folder.
var ErrLocked = errors.New("an overcastd is running here")

// Lock is held by whoever may change the datapath. It is an open file
// description lock (fcntl(2)): the kernel lets go of it when its holder dies,
// however that dies, and others can ask for it without taking it.
type Lock struct {
	file *os.File
}

func lockPath(runDir string) string {
	return filepath.Join(runDir, "overcastd.lock")
}

// AcquireLock makes the run folder and takes its lock. It does not wait; the
// error is ErrLocked, wrapped, if somebody has it.
func AcquireLock(runDir string) (*Lock, error) {
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
	return &Lock{file: file}, nil
}

// Release gives the lock back.
func (l *Lock) Release() {
	l.file.Close()
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
