// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"overcast/bpf"
	"overcast/maps"
)

// defaultBPFFS is where Linux machines mount the BPF file system.
const defaultBPFFS = "/sys/fs/bpf"

// ensurePinPath makes the pin folder, and mounts a bpffs at the usual place if
// the folder lies there and the machine has none.
func ensurePinPath(path string) error {
	if err := ensureBPFFS(path); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(path, linksDir), 0o755); err != nil {
		return fmt.Errorf("pin path: %w", err)
	}
	return nil
}

func ensureBPFFS(path string) error {
	is, err := isBPFFS(path)
	if err != nil || is {
		return err
	}
	rel, err := filepath.Rel(defaultBPFFS, path)
	if err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("pin path %s is not in a BPF file system: choose a folder below %s, or mount one there", path, defaultBPFFS)
	}
	if err := unix.Mount("bpf", defaultBPFFS, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mounting a BPF file system at %s: %w", defaultBPFFS, err)
	}
	return nil
}

// machineSees tells whether the first process has the file system of a path
// mounted too. If not, that is of a mount namespace of our own (such as `ip
// netns exec` makes), and what is pinned there ends with the namespace.
func machineSees(path string) bool {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return true
	}
	mounts, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		return true // not to be told
	}
	device := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	for line := range strings.SplitSeq(string(mounts), "\n") {
		// mount id, parent, device (proc_pid_mountinfo(5))
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == device {
			return true
		}
	}
	return false
}

// isBPFFS tells whether the nearest existing folder above a path is in a bpffs.
func isBPFFS(path string) (bool, error) {
	for {
		var stat unix.Statfs_t
		err := unix.Statfs(path, &stat)
		if err == nil {
			return stat.Type == unix.BPF_FS_MAGIC, nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return false, fmt.Errorf("pin path %s: %w", path, err)
		}
		path = parent
	}
}

// checkPins refuses to take pins away from a folder that cannot hold any.
func checkPins(path string) error {
	is, err := isBPFFS(path)
	if err != nil || is {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("pin path %s is not in a BPF file system, so there is no datapath: nothing was removed", path)
}

// removePins removes what we pin, by name: the folder may be another one than
// was meant, and others keep their pins in the same file system.
func removePins(path string) error {
	var names []string
	for _, n := range (&maps.Set{}).Named() {
		names = append(names, n.Name)
	}
	var errs []error
	for _, name := range append(names, bpf.ConstantsVariable) {
		errs = append(errs, removePin(filepath.Join(path, name)), removePin(filepath.Join(path, name+staging)))
	}
	errs = append(errs, removePinFolders(path))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing the pins: %w", err)
	}
	return nil
}

// removePinFolders removes the folders for pins if there are none in them.
func removePinFolders(path string) error {
	var errs []error
	for _, folder := range []string{filepath.Join(path, linksDir), path} {
		err := os.Remove(folder)
		// Not empty: it is somebody else's too. Busy: the file system's root.
		if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, absent(err))
		}
	}
	return errors.Join(errs...)
}

func removePin(path string) error {
	return absent(os.Remove(path))
}

// absent is an error unless it says that something was not there.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
