// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"overcast/loader"
	"overcast/policy"
)

// resync is how often everything is compared with what it should be, whether
// something is known to have changed or not.
const resync = 30 * time.Second

// agent is the loop around the datapath. All of it runs in one goroutine.
type agent struct {
	config  *Config
	log     *slog.Logger
	path    *loader.Datapath
	watcher *loader.Watcher
	started time.Time
	lock    *loader.Lock
	status  loader.ConfigReport
	earlier *loader.Report // what an earlier agent has left, nil if nothing
	metrics *metrics

	applied   *loader.Applied   // what is in force, as it is kept; nil if nothing is
	documents []policy.Document // as last read
	unread    bool              // they could not be read the last time
	unapplied bool              // they are right, but cannot be on this machine
	groups    writtenGroups
	published time.Time
	told      []string // the problems that the log has
}

// run is the agent's life. It returns when the context ends, or when there is
// nothing it could start with.
func run(ctx context.Context, config *Config) error {
	log := newLogger(config)
	lock, err := loader.AcquireLock(config.RunDir)
	if err != nil {
		return err
	}
	defer lock.Release()

	a := &agent{config: config, log: log, lock: lock, started: time.Now(), status: loader.ConfigReport{Source: config.source()}}
	a.earlier = a.earlierReport()
	if a.path, err = loader.Start(loader.Options{
		PinPath:  config.PinPath,
		RunDir:   config.RunDir,
		Uplinks:  config.Uplinks,
		Underlay: config.Underlay,
		Decap:    config.Decap,
		Limits:   config.Limits,
		Log:      log,
		Lock:     lock,
	}, a.earlier); err != nil {
		return err
	}
	defer a.path.Close()
	if a.watcher, err = loader.Watch(ctx, log); err != nil {
		return err
	}
	if a.metrics, err = serveMetrics(ctx, config.Metrics, a.path.Maps(), log); err != nil {
		return err
	}
	changed, err := config.watchStore(ctx, log)
	if err != nil {
		return err
	}
	if err := a.begin(); err != nil {
		return err
	}
	a.notify(daemon.SdNotifyReady)
	log.Info("ready", "host", config.Host, "documents", config.source())
	a.loop(ctx, changed)
	a.notify(daemon.SdNotifyStopping)
	log.Info("stopping; the datapath goes on forwarding")
	return nil
}

func newLogger(config *Config) *slog.Logger {
	var level slog.Level
	// readConfig has checked it.
	_ = level.UnmarshalText([]byte(config.LogLevel))
	options := &slog.HandlerOptions{Level: level}
	if config.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

func (a *agent) earlierReport() *loader.Report {
	report, err := loader.ReadReport(a.config.RunDir)
	if err == nil {
		return report
	}
	if !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the earlier report cannot be read; counters may move to other ports", "error", err)
	}
	return nil
}

// begin takes the documents for the first time. A datapath that an earlier
// agent left goes on whatever they are; one that never was cannot be made, so
// whoever started us should hear of it.
func (a *agent) begin() error {
	state, err := a.apply()
	if err != nil && !a.path.Ran() {
		return errors.Join(err, a.path.Abandon())
	}
	if a.taken(state, err) {
		return nil
	}
	a.resume()
	a.publish()
	return nil
}

// resume takes the documents that the running datapath was made from, as those
// that there are now cannot be taken.
func (a *agent) resume() {
	all, err := loader.ReadApplied(a.config.RunDir)
	for _, applied := range all {
		err = a.take(applied)
		if a.path.State() != nil {
			a.applied, a.status.Applied = applied, applied.Time
			a.log.Warn("the documents applied last are in force", "applied", applied.Time)
			return
		}
	}
	a.log.Error("the documents applied last cannot be taken either", "error", err)
}

func (a *agent) take(applied *loader.Applied) error {
	model, err := policy.Parse(applied.Documents)
	if err != nil {
		return err
	}
	state, err := model.State(applied.Host)
	if err != nil {
		return err
	}
	a.expect(state)
	return a.path.Resume(state)
}

// loop follows signals, documents, the machine and the clock.
func (a *agent) loop(ctx context.Context, changed <-chan struct{}) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, unix.SIGHUP)
	defer signal.Stop(hangup)
	timer := time.NewTicker(resync)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			a.notify(daemon.SdNotifyReloading + fmt.Sprintf("\nMONOTONIC_USEC=%d", monotonicMicroseconds()))
			a.reload()
			a.notify(daemon.SdNotifyReady)
		case <-changed:
			if a.documentsChanged() {
				a.reload()
			}
		case change := <-a.watcher.C:
			a.follow(change)
		case event := <-a.path.Events():
			a.groupsChanged(a.path.Take(event))
		case <-a.path.Due():
			a.groupsChanged(a.path.Tick())
		case <-timer.C:
			a.heal()
		}
	}
}

// documentsChanged tells whether the documents are others than those last
// read: the folder may see files come and go that are none of ours.
func (a *agent) documentsChanged() bool {
	docs, err := a.config.documents()
	return err != nil || a.unread || !slices.EqualFunc(docs, a.documents, policy.Document.Equal)
}

// reload takes the documents as they are now. If they are wrong, what runs
// stays as it is, and report, log and metrics say so.
func (a *agent) reload() {
	a.taken(a.apply())
}

// apply reads the documents and applies them. They are kept before anything
// changes, so that whoever comes after us knows them whenever we end.
func (a *agent) apply() (*policy.State, error) {
	state, err := a.readState()
	if err != nil {
		return nil, err
	}
	next := &loader.Applied{Host: a.config.Host, Time: time.Now(), Documents: a.documents}
	kept := loader.StageApplied(a.config.RunDir, next)
	a.expect(state)
	err = a.path.Apply(state)
	var refusal *loader.RefusalError
	if errors.As(err, &refusal) {
		kept = errors.Join(kept, loader.DropApplied(a.config.RunDir))
	} else {
		a.applied = next
		if kept == nil {
			kept = loader.CommitApplied(a.config.RunDir)
		}
	}
	a.noteKept(kept)
	return state, err
}

func (a *agent) noteKept(err error) {
	if err != nil {
		a.log.Error("a restart with wrong documents will not know the running state", "error", err)
	}
}

// taken tells in status, log and metrics what became of the documents, and
// whether they are in force: state is what they say, nil if they are wrong.
func (a *agent) taken(state *policy.State, err error) bool {
	var refusal *loader.RefusalError
	a.unapplied = errors.As(err, &refusal)
	if state == nil || a.unapplied {
		a.status.Error, a.status.ErrorTime = err.Error(), time.Now()
		a.log.Error("configuration refused, the running state stays", "error", err)
		a.metrics.reloaded(err)
		a.publish()
		return false
	}
	a.status.Error, a.status.ErrorTime, a.status.Applied = "", time.Time{}, a.applied.Time
	a.log.Info("configuration applied", "segments", len(state.Segments), "remotes", len(state.Remotes))
	a.metrics.reloaded(nil)
	a.publish()
	return true
}

// readState reads the documents and works out what they mean for this host.
func (a *agent) readState() (*policy.State, error) {
	docs, err := a.config.documents()
	a.unread = err != nil
	if err != nil {
		return nil, err
	}
	a.documents = docs
	model, err := policy.Parse(docs)
	if err != nil {
		return nil, fmt.Errorf("environment documents:\n%w", err)
	}
	return model.State(a.config.Host)
}

// follow brings the datapath in line with a change of the machine. What it
// cannot do is among the problems that publish tells.
func (a *agent) follow(change loader.Change) {
	if change&loader.ChangeLinks != 0 {
		_ = a.path.Refresh()
	} else if paths, _ := a.path.RefreshPaths(); paths > 0 {
		a.log.Info("paths to remotes changed", "remotes", paths)
	}
	a.publish()
}

// heal repeats what may have been missed or undone, and tries again what could
// not be on this machine: its MTU may be another one by now.
func (a *agent) heal() {
	if err := a.lock.Renew(a.config.RunDir); err != nil {
		a.log.Error("cannot take the lock of the run folder again", "error", err)
	}
	if a.unapplied || a.documentsChanged() {
		a.reload()
	}
	a.groups.version = 0 // the file may have gone
	_ = a.path.Refresh() // told by publish
	if _, err := a.path.Sweep(); err != nil {
		a.log.Error("cannot sweep what was learned", "error", err)
	}
	a.publish()
}

// publish writes the report, tells the log of new problems, and the watcher
// which devices matter.
func (a *agent) publish() {
	report := a.path.Report()
	if a.path.State() == nil && a.earlier != nil {
		// What runs is still what an earlier agent has told of.
		report = *a.earlier
		report.Problems = []string{"what this host runs is not known, so it does not follow the machine until there are right documents"}
	}
	report.Version, report.PID, report.Started, report.Updated = loader.Version(), os.Getpid(), a.started, time.Now()
	report.Config = a.status
	if report.Config.Applied.IsZero() && a.earlier != nil {
		report.Config.Applied = a.earlier.Config.Applied
	}
	if report.Host == "" {
		report.Host = a.config.Host
	}
	a.published = report.Updated
	a.tell(report.Problems)
	a.watch(&report)
	a.metrics.describe(&report)
	if err := loader.WriteReport(a.config.RunDir, &report); err != nil {
		a.log.Error("cannot write the report", "error", err)
	}
	if a.applied != nil && !loader.HasApplied(a.config.RunDir) {
		a.noteKept(loader.WriteApplied(a.config.RunDir, a.applied))
	}
}

// tell logs the problems that are new, and those that are over.
func (a *agent) tell(problems []string) {
	for _, problem := range problems {
		if !slices.Contains(a.told, problem) {
			a.log.Error("not in line with the documents; trying again", "problem", problem, "after", resync)
		}
	}
	for _, problem := range a.told {
		if !slices.Contains(problems, problem) {
			a.log.Info("in line again", "problem", problem)
		}
	}
	a.told = problems
}

// expect names the ports of a state that is about to be applied, too: a device
// that comes meanwhile may come after the machine was looked at.
func (a *agent) expect(state *policy.State) {
	report := a.path.Report()
	for i := range state.Segments {
		for _, port := range state.Segments[i].Ports {
			report.Ports = append(report.Ports, loader.PortReport{Interface: port.Interface})
		}
	}
	a.watch(&report)
}

// watch names the devices whose changes matter.
func (a *agent) watch(report *loader.Report) {
	names, ifindexes := []string{loader.TunnelDevice}, []uint32{report.Tunnel.Ifindex}
	names = append(names, a.config.Uplinks...)
	for _, uplink := range report.Uplinks {
		names, ifindexes = append(names, uplink.Interface), append(ifindexes, uplink.Ifindex)
	}
	for _, port := range report.Ports {
		names, ifindexes = append(names, port.Interface), append(ifindexes, port.Ifindex)
	}
	a.watcher.Follow(names, ifindexes)
}

// notify tells systemd, if that started us.
func (a *agent) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.Warn("cannot notify systemd", "error", err)
	}
}

func monotonicMicroseconds() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano() / 1000
}
