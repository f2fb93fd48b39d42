// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"overcast/loader"
	"overcast/test/lab"
)

// What an agent tells its remotes is told each query interval, by default 125 s.
// So that several of them are measured it is shorter here.
const (
	runningInterval  = 3 * time.Second
	runningResponse  = time.Second
	runningIntervals = 2 // that are measured
)

// measureRunning measures an agent among so many remotes: its start, and what
// it takes to go on.
func measureRunning(r *report, o *options, remotes int) error {
	for range o.rounds {
		if err := o.interrupted(); err != nil {
			return err
		}
		if err := runAmong(r, o, remotes); err != nil {
			return err
		}
	}
	return nil
}

func runAmong(r *report, o *options, remotes int) (err error) {
	overcastd, err := o.overcastd()
	if err != nil {
		return err
	}
	rep, err := newReplicator(fan{family: lab.IPv4, remotes: remotes}, o, fanContender{connect: connectRunning})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rep.Close()) }()
	group := plural(remotes, "remote") + ", running"
	began := time.Now()
	agent, err := rep.Hosts[0].StartAgent(overcastd, "--metrics", "", "--decap", string(loader.DecapTC))
	if err != nil {
		return err
	}
	r.add(group, "start to ready", "overcast", "ms", lower, float64(time.Since(began).Nanoseconds())/1e6)
	// A start has more to tell: the first interval is over, and the repeats.
	time.Sleep(2 * runningInterval)
	before, err := cpuTime(agent.PID())
	if err != nil {
		return err
	}
	time.Sleep(runningIntervals * runningInterval)
	after, err := cpuTime(agent.PID())
	r.add(group, "CPU time of a query interval", "overcast", "ms", lower, float64((after-before).Nanoseconds())/1e6/runningIntervals)
	return err
}

// connectRunning makes ready for an agent, whose remotes take what they are told.
func connectRunning(rep *replicator, _ *options) error {
	if err := rep.answerProbes(); err != nil {
		return err
	}
	rep.multicast = fmt.Sprintf("{query_interval: %s, query_response_interval: %s}", runningInterval, runningResponse)
	return rep.Hosts[0].WriteDocument(rep.document())
}

// cpuTime is what a process has used of the CPUs, by the clock that the kernel
// keeps for each (clock_getcpuclockid(3), include/linux/posix-timers_types.h).
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED, of a whole process
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}
