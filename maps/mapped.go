// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// mapped runs a function on the elements of an array map, in the memory that
// the programs read. What they read meanwhile is stored a word at a time.
func mapped[T any](m *ebpf.Map, f func([]T) error) error {
	page := os.Getpagesize()
	size := (int(m.MaxEntries())*int(m.ValueSize()) + page - 1) &^ (page - 1)
	memory, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mapping %s: %w", m, err)
	}
	elements := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), m.MaxEntries())
	return errors.Join(f(elements), unix.Munmap(memory))
}
