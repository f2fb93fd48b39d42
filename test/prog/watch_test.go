// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"overcast/test/lab"
)

// watch follows all that is really sent, and notes what should be. What leaves
// a device is counted by the kernel at once; at its far end it may be a moment
// later.
type watch struct {
	w        *world
	before   map[string]int // packets sent, by device
	captures map[string]*lab.Capture
	want     map[string]map[string]int // by device and frame: how often
}

// watch begins to count on all devices, and to record the far ends of some:
// of the others only the number of frames is looked at.
func (w *world) watch(t *testing.T, recorded ...string) *watch {
	t.Helper()
	x := &watch{w: w, before: w.sentPackets(t), captures: make(map[string]*lab.Capture), want: make(map[string]map[string]int)}
	for device := range w.ifindexes {
		x.want[device] = make(map[string]int)
	}
	for _, device := range recorded {
		c, err := w.Capture(w.Far, device, device)
		if err != nil {
			t.Fatal(err)
		}
		x.captures[device] = c
	}
	return x
}

// devices are all devices of the stage.
func (w *world) devices() []string {
	return sorted(w.ifindexes)
}

// sentPackets are the kernel's counts, by device.
func (w *world) sentPackets(t *testing.T) map[string]int {
	t.Helper()
	sent := make(map[string]int)
	err := w.Host.Do(func() error {
		// /proc/net is that of the process's first thread.
		text, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		for _, line := range strings.Split(string(text), "\n") {
			device, counts, ok := strings.Cut(line, ":")
			if fields := strings.Fields(counts); ok && len(fields) > 9 {
				if sent[strings.TrimSpace(device)], err = strconv.Atoi(fields[9]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// run runs a row and notes which copies it should send.
func (x *watch) run(t *testing.T, r row) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		t.Helper()
		result := x.w.check(t, r)
		frame := r.frame()
		for _, device := range r.bare {
			x.want[device][string(frame)]++
		}
		for _, host := range r.tunnelled {
			outer := x.w.to(host, r.vni(host))
			outer.Source = x.w.sourcePort(t, result.Data)
			x.want[x.w.uplinkTo(host)][string(outer.Wrap(frame))]++
		}
	})
}

// compare fails unless each copy was sent, once, and nothing else.
func (x *watch) compare(t *testing.T) {
	t.Helper()
	now := x.w.sentPackets(t)
	for _, device := range x.w.devices() {
		sent, want := now[device]-x.before[device], 0
		for _, n := range x.want[device] {
			want += n
		}
		if sent != want {
			t.Errorf("%s: %d frames were sent, should be %d", device, sent, want)
		}
		if c := x.captures[device]; c != nil {
			got := await(t, c, sent)
			for _, problem := range differences(x.want[device], got) {
				t.Errorf("%s: %s", device, problem)
			}
		}
	}
}

// await waits until so many frames are recorded, and counts each. The limit
// only ends a test that would hang.
func await(t *testing.T, c *lab.Capture, n int) map[string]int {
	t.Helper()
	frames := c.Frames()
	for deadline := time.Now().Add(5 * time.Second); len(frames) < n; frames = c.Frames() {
		if time.Now().After(deadline) {
			t.Errorf("%s: %d frames were sent, and %d came", c.Place, n, len(frames))
			break
		}
		time.Sleep(time.Millisecond)
	}
	got := make(map[string]int)
	for _, frame := range frames {
		got[string(frame.Data)]++
	}
	return got
}

func differences(want, got map[string]int) []string {
	var problems []string
	for frame, n := range want {
		if got[frame] != n {
			problems = append(problems, fmt.Sprintf("%d copies, should be %d, of % x", got[frame], n, frame))
		}
	}
	for frame, n := range got {
		if want[frame] == 0 {
			problems = append(problems, fmt.Sprintf("%d copies, should be none, of % x", n, frame))
		}
	}
	slices.Sort(problems)
	return problems
}
