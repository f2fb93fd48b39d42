// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
)

// initramfs writes a cpio archive of the "newc" form, as the kernel unpacks it
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type initramfs struct {
	w     *bufio.Writer
	inode int
	made  map[string]bool
	err   error
}

func newInitramfs(w io.Writer) *initramfs {
	return &initramfs{w: bufio.NewWriter(w), made: map[string]bool{"/": true, ".": true}}
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// addFile puts the bytes into the archive under an absolute path.
func (a *initramfs) addFile(name string, data []byte) {
	a.addDir(path.Dir(name))
	a.entry(name, modeFile, data)
}

// copyFile puts a file of this machine into the archive.
func (a *initramfs) copyFile(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("initramfs: %w", err)
	}
	a.addFile(name, data)
}

// addDir makes a folder and those above it.
func (a *initramfs) addDir(name string) {
	if a.made[name] {
		return
	}
	a.addDir(path.Dir(name))
	a.made[name] = true
	a.entry(name, modeDir, nil)
}

func (a *initramfs) entry(name string, mode int, data []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	name = path.Join(".", name)
	// magic, inode, mode, uid, gid, links, mtime, size, device (4 words), name's length, checksum
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.write(header + name + "\x00")
	a.pad(len(header) + len(name) + 1)
	a.write(string(data))
	a.pad(len(data))
}

// pad fills up to a multiple of four bytes.
func (a *initramfs) pad(n int) {
	a.write("\x00\x00\x00"[:(4-n%4)%4])
}

func (a *initramfs) write(s string) {
	if a.err == nil {
		_, a.err = a.w.WriteString(s)
	}
}

// close ends the archive.
func (a *initramfs) close() error {
	a.inode = -1
	a.entry("TRAILER!!!", 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
