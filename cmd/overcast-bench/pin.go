// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// onCPU runs a function on a thread that stays on one CPU. What the kernel
// does for it in softirqs happens there too. The thread ends with it.
func onCPU(cpu int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread that is pinned is not used again
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("pinning to CPU %d: %w", cpu, err)
			return
		}
		done <- f()
	}()
	return <-done
}
