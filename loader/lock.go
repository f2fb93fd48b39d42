// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another agent works with this run folder.
var ErrLocked = errors.New("another overcastd is running here")

// Lock is held by whoever may change the datapath. The kernel lets go of it
// when its holder dies, however that dies.
type Lock struct {
	file *os.File
}

// AcquireLock makes the run folder and takes its lock. It does not wait; the
// error is ErrLocked, wrapped, if somebody has it.
func AcquireLock(runDir string) (*Lock, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	path := filepath.Join(runDir, "overcastd.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{file: file}, nil
}

// Release gives the lock back.
func (l *Lock) Release() {
	l.file.Close()
}
