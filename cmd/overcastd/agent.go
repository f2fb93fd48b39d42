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
	status  loader.ConfigReport
	metrics *metrics

	documents []policy.Document // as last read
	unread    bool              // they could not be read the last time
	unapplied bool              // they are right, but this machine refused them
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

	a := &agent{config: config, log: log, started: time.Now(), status: loader.ConfigReport{Source: config.source()}}
	if a.path, err = loader.Start(loader.Options{
		PinPath:  config.PinPath,
		RunDir:   config.RunDir,
		Uplinks:  config.Uplinks,
		Underlay: config.Underlay,
		Decap:    config.Decap,
		Limits:   config.Limits,
		Log:      log,
	}, a.earlierSlots()); err != nil {
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
	if err := a.reload(); err != nil {
		// A datapath that an earlier agent left goes on; one that never was
		// cannot be made, so whoever started us should hear of it.
		if _, running := a.earlierReport(); !running {
			return err
		}
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

func (a *agent) earlierReport() (*loader.Report, bool) {
	report, err := loader.ReadReport(a.config.RunDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the earlier report cannot be read; counters may move to other ports", "error", err)
	}
	return report, err == nil
}

func (a *agent) earlierSlots() map[string]uint32 {
	if report, ok := a.earlierReport(); ok {
		return report.Slots()
	}
	return nil
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
			_ = a.reload() // told in log, report and metrics
			a.notify(daemon.SdNotifyReady)
		case <-changed:
			if a.documentsChanged() {
				_ = a.reload()
			}
		case change := <-a.watcher.C:
			a.follow(change)
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
func (a *agent) reload() error {
	state, err := a.readState()
	a.unapplied = false
	if err == nil {
		err = a.path.Apply(state)
		a.unapplied = err != nil
	}
	now := time.Now()
	if err != nil {
		a.status.Error, a.status.ErrorTime = err.Error(), now
		a.log.Error("configuration refused, the running state stays", "error", err)
	} else {
		a.status.Error, a.status.ErrorTime, a.status.Applied = "", time.Time{}, now
		a.log.Info("configuration applied", "segments", len(state.Segments), "remotes", len(state.Remotes))
	}
	a.metrics.reloaded(err)
	a.publish()
	return err
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

// follow brings the datapath in line with a change of the machine.
func (a *agent) follow(change loader.Change) {
	var err error
	if change&loader.ChangeLinks != 0 {
		err = a.path.Refresh()
	} else {
		var paths int
		if paths, err = a.path.RefreshPaths(); paths > 0 {
			a.log.Info("paths to remotes changed", "remotes", paths)
		}
	}
	if err != nil {
		a.log.Error("cannot follow a change of the network; trying again", "error", err, "after", resync)
	}
	a.publish()
}

// heal repeats what may have been missed or undone, and tries again what the
// machine refused: its MTU may be another one by now.
func (a *agent) heal() {
	if a.unapplied || a.documentsChanged() {
		_ = a.reload() // told in log, report and metrics
	}
	if err := a.path.Refresh(); err != nil {
		a.log.Error("cannot bring the datapath in line; trying again", "error", err, "after", resync)
	}
	if _, err := a.path.Sweep(); err != nil {
		a.log.Error("cannot sweep learned MACs", "error", err)
	}
	a.publish()
}

// publish writes the report and tells the watcher which devices matter.
func (a *agent) publish() {
	report := a.path.Report()
	report.Version, report.PID, report.Started, report.Updated = loader.Version(), os.Getpid(), a.started, time.Now()
	report.Config = a.status
	if report.Host == "" {
		report.Host = a.config.Host
	}
	names := []string{loader.TunnelDevice}
	names = append(names, a.config.Uplinks...)
	for _, uplink := range report.Uplinks {
		names = append(names, uplink.Interface)
	}
	for _, port := range report.Ports {
		names = append(names, port.Interface)
	}
	a.watcher.Follow(names)
	a.metrics.describe(&report)
	if err := loader.WriteReport(a.config.RunDir, &report); err != nil {
		a.log.Error("cannot write the report", "error", err)
	}
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
