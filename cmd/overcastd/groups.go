// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"overcast/loader"
)

// writtenGroups is what has been written of the groups, and what has failed.
type writtenGroups struct {
	version uint64
	lives   uint64 // the version of which hosts live that the report has
	time    time.Time
	failure string
}

// groupsInterval is how often the groups are written at most: there may be many.
const groupsInterval = time.Second

// reportInterval is how old the report may become, which has what probes tell.
const reportInterval = 5 * time.Second

// groupsChanged logs what the groups could not be made to be, once until it is
// something else, and writes what is known of them.
func (a *agent) groupsChanged(err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if failure != "" && failure != a.groups.failure {
		a.log.Error("groups are not as they were asked for; trying again", "error", err)
	}
	a.groups.failure = failure
	if a.path.State() == nil {
		return // what an earlier agent has told is still so
	}
	if lives := a.path.LivenessVersion(); lives != a.groups.lives || time.Since(a.published) > reportInterval {
		a.groups.lives = lives
		a.publish()
	}
	version := a.path.GroupsVersion() + 1 // zero is nothing
	if a.groups.version == version || time.Since(a.groups.time) < groupsInterval {
		return
	}
	a.groups.version, a.groups.time = version, time.Now()
	report := a.path.Groups()
	a.metrics.describeGroups(report)
	if err := loader.WriteGroups(a.config.RunDir, report); err != nil {
		a.log.Error("cannot write the groups", "error", err)
	}
}
