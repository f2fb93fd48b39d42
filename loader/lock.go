// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
// has either who may be an agent.
func AcquireLock(runDir string) (*Lock, error) {
	file, err := lockFile(runDir)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: namespaceLock, Net: "unixgram"})
	if err != nil {
		file.Close()
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, namespaceHeld(runDir)
		}
		return nil, fmt.Errorf("lock of the network namespace: %w", err)
	}
	return &Lock{file: file, socket: socket}, nil
}

func lockFile(runDir string) (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	// Whoever can read a file can hold a lock of it.
	file, err := os.OpenFile(lockPath(runDir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := file.Chmod(0o600); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	// The lock tells its holder in the one step that takes it: it is as many
	// bytes long as the number of the process.
	own := unix.Flock_t{Type: unix.F_WRLCK, Len: int64(os.Getpid())}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &own); err != nil {
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

// Holder tells whether an agent lives, without disturbing it, and its process;
// 0 for one of an earlier version, whose lock does not tell.
func Holder(runDir string) (pid int, alive bool, err error) {
	file, err := os.Open(lockPath(runDir))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("lock: %w", err)
	}
	defer file.Close()
	held := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &held); err != nil {
		return 0, false, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	if held.Type == unix.F_UNLCK {
		return 0, false, nil
	}
	return int(held.Len), true, nil
}

// namespaceHeld is the error where somebody has the namespace's socket. Its
// name has no permissions, so that need not be an agent.
func namespaceHeld(runDir string) error {
	pid := socketHolder(namespaceLock)
	if pid == 0 {
		return fmt.Errorf("lock of this network namespace (abstract socket %s, held by a process that is not seen from here), which is not that of run folder %s: %w", namespaceLock, runDir, ErrLocked)
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	holder := fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))
	var stat unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", pid), &stat); err == nil && stat.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("lock of this network namespace (abstract socket %s): %s of user %d has it, and is no overcastd: end it", namespaceLock, holder, stat.Uid)
	}
	return fmt.Errorf("lock of this network namespace (abstract socket %s, held by %s), which is not that of run folder %s: %w", namespaceLock, holder, runDir, ErrLocked)
}

// socketHolder finds the process that has an abstract socket of this network
// namespace open, 0 if that does not show.
func socketHolder(name string) int {
	sockets, err := os.ReadFile("/proc/thread-self/net/unix")
	if err != nil {
		return 0
	}
	var want string
	for line := range strings.SplitSeq(string(sockets), "\n") {
		// Num, RefCount, Protocol, Flags, Type, St, Inode, Path (proc_net(5))
		if fields := strings.Fields(line); len(fields) == 8 && fields[7] == name {
			want = "socket:[" + fields[6] + "]"
		}
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && target == want {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			return pid
		}
	}
	return 0
}
