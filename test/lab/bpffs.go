// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bpfRoot is where machines mount the BPF file system.
const bpfRoot = "/sys/fs/bpf"

// ensureBPFFS mounts a BPF file system where it belongs if the machine has
// none. It stays mounted: others may have begun to use it.
func ensureBPFFS() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(bpfRoot, &stat); err != nil {
		return fmt.Errorf("looking for a BPF file system at %s: %w", bpfRoot, err)
	}
	if stat.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	err := unix.Mount("bpf", bpfRoot, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
	if err != nil {
		return fmt.Errorf("mounting a BPF file system at %s: %w", bpfRoot, err)
	}
	return nil
}

// pinRoot is the folder of a lab in the BPF file system.
func pinRoot(lab string) string { return filepath.Join(bpfRoot, lab) }

// removePins unpins all that lies in the folder of a lab. None is fine.
func removePins(lab string) error {
	if err := os.RemoveAll(pinRoot(lab)); err != nil {
		return fmt.Errorf("unpinning what is in %s: %w", pinRoot(lab), err)
	}
	return nil
}
