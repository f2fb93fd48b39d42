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
