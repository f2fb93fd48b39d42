// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"container/heap"
	"math"
	"time"
)

// instant is a time in nanoseconds since the table was made. A timer runs while
// its instant is later than now, and so one that is zero has run out.
type instant int64

const never = instant(math.MaxInt64)

// in is the instant when a time from now has passed.
func (t *Table) in(d time.Duration) instant {
	return t.now + instant(d)
}

// left is how long a timer still runs.
func (t *Table) left(until instant) time.Duration {
	return time.Duration(max(until-t.now, 0))
}

// alarm is when something has to look at its timers. It may come too early, as
// a timer that is prolonged does not move it: reports prolong timers all the
// time.
type alarm struct {
	at    instant
	index int // in the heap, from 1 on; 0: not there
}

// timed is something with timers.
type timed interface {
	clock() *alarm
	// wake does what is due and sets the alarm anew.
	wake(t *Table)
}

// alarms is a heap, the next first.
type alarms []timed

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].clock().at < a[j].clock().at }

func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].clock().index, a[j].clock().index = i+1, j+1
}

// Push is for the heap alone.
func (a *alarms) Push(x any) {
	it := x.(timed)
	*a = append(*a, it)
	it.clock().index = len(*a)
}

// Pop is for the heap alone.
func (a *alarms) Pop() any {
	last := len(*a) - 1
	it := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	it.clock().index = 0
	return it
}

// wakeBy sees to it that something wakes at an instant, or before.
func (t *Table) wakeBy(it timed, at instant) {
	c := it.clock()
	switch {
	case at == never:
	case c.index == 0:
		c.at = at
		heap.Push(&t.alarms, it)
	case at < c.at:
		c.at = at
		heap.Fix(&t.alarms, c.index-1)
	}
}

// forget takes the alarm of something that goes.
func (t *Table) forget(it timed) {
	if c := it.clock(); c.index != 0 {
		heap.Remove(&t.alarms, c.index-1)
	}
}

// wakeDue wakes whatever is due.
func (t *Table) wakeDue() {
	for len(t.alarms) > 0 && t.alarms[0].clock().at <= t.now {
		heap.Pop(&t.alarms).(timed).wake(t)
	}
}
