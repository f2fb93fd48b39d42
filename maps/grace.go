// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"time"

	"golang.org/x/sys/unix"
)

// grace waits until every program that runs now has ended. A hash map hands a
// replaced or deleted element out again at once, so a program that has just
// looked it up could read another entry's value in it; waiting between giving
// an element back and asking for one rules that out.
func grace() {
	// MEMBARRIER_CMD_GLOBAL is the kernel's synchronize_rcu
	// (kernel/sched/membarrier.c), and programs run in RCU read sections.
	const membarrierGlobal = 1
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		// Refused on nohz_full machines. A program runs for microseconds.
		time.Sleep(50 * time.Millisecond)
	}
}
