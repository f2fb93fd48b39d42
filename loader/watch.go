// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Change says what of the machine has changed.
type Change uint8

// The changes that the datapath follows.
const (
	ChangeLinks Change = 1 << iota // a device that we know came, went or changed
	ChangePaths                    // an address, a route or a neighbour
)

// settle is how long a first change waits for more of them: a port that is
// made in several steps, or a thousand routes, are one change.
const settle = 5 * time.Millisecond

// receiveBuffer holds the kernel's messages while we work, in bytes.
const receiveBuffer = 4 << 20

// Watcher tells of changes in the namespace of its maker.
type Watcher struct {
	C <-chan Change

	mu        sync.Mutex
	names     map[string]bool
	ifindexes map[int32]bool
}

// Follow names the devices whose changes matter, and tells those that are
// there by number too: a renamed one shows its new name only.
func (w *Watcher) Follow(names []string, ifindexes []uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ifindexes = make(map[int32]bool, len(ifindexes))
	for _, ifindex := range ifindexes {
		w.ifindexes[int32(ifindex)] = true
	}
	w.names = make(map[string]bool, len(names))
	for _, name := range names {
		w.names[name] = true
	}
}

func (w *Watcher) follows(name string, ifindex int32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[name] || w.ifindexes[ifindex]
}

// Watch begins to watch until the context ends. Where the kernel had to drop
// messages it tells of every kind of change, and subscribes anew.
func Watch(ctx context.Context, log *slog.Logger) (*Watcher, error) {
	raw := make(chan Change, 64)
	out := make(chan Change)
	w := &Watcher{C: out}
	r, err := subscribe(ctx, log)
	if err != nil {
		return nil, err
	}
	go w.forward(ctx, raw, r, log)
	go gather(ctx, raw, out)
	return w, nil
}

// gather adds up changes that come close together.
func gather(ctx context.Context, raw <-chan Change, out chan<- Change) {
	for {
		var change Change
		select {
		case <-ctx.Done():
			return
		case change = <-raw:
		}
		timer := time.After(settle)
		for waiting := true; waiting; {
			select {
			case more := <-raw:
				change |= more
			case <-timer:
				waiting = false
			}
		}
		for sent := false; !sent; {
			select {
			case <-ctx.Done():
				return
			case more := <-raw:
				change |= more
			case out <- change:
				sent = true
			}
		}
	}
}

// round is the four subscriptions, which begin and end together.
type round struct {
	stop       context.CancelFunc
	links      chan netlink.LinkUpdate
	addrs      chan netlink.AddrUpdate
	routes     chan netlink.RouteUpdate
	neighbours chan netlink.NeighUpdate
}

// subscribe opens a round. It ends with the context, and by end.
func subscribe(ctx context.Context, log *slog.Logger) (r *round, err error) {
	ctx, stop := context.WithCancel(ctx)
	failed := func(err error) {
		if ctx.Err() == nil {
			log.Warn("lost changes of the network; looking at all of it again", "error", err)
		}
	}
	r = &round{stop: stop}
	defer func() {
		if err != nil {
			r.end()
		}
	}()
	links := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{ErrorCallback: failed, ReceiveBufferSize: receiveBuffer}); err != nil {
		return r, fmt.Errorf("watching links: %w", err)
	}
	r.links = links
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: failed, ReceiveBufferSize: receiveBuffer}); err != nil {
		return r, fmt.Errorf("watching addresses: %w", err)
	}
	r.addrs = addrs
	routes := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, ctx.Done(), netlink.RouteSubscribeOptions{ErrorCallback: failed, ReceiveBufferSize: receiveBuffer}); err != nil {
		return r, fmt.Errorf("watching routes: %w", err)
	}
	r.routes = routes
	neighbours := make(chan netlink.NeighUpdate, 64)
	if err := netlink.NeighSubscribeWithOptions(neighbours, ctx.Done(), netlink.NeighSubscribeOptions{ErrorCallback: failed, ReceiveBufferSize: receiveBuffer}); err != nil {
		return r, fmt.Errorf("watching neighbours: %w", err)
	}
	r.neighbours = neighbours
	return r, nil
}

// end closes the subscriptions, and takes what they still have to tell: each
// waits for its reader before it sees that it is closed.
func (r *round) end() {
	r.stop()
	drain(r.links)
	drain(r.addrs)
	drain(r.routes)
	drain(r.neighbours)
}

// drain reads a channel until it is closed; nil is one that was never opened.
func drain[T any](updates <-chan T) {
	if updates == nil {
		return
	}
	for range updates {
	}
}

// forward turns messages into changes. When a subscription breaks, which it
// does when the kernel's buffer runs over, it begins anew.
func (w *Watcher) forward(ctx context.Context, raw chan<- Change, r *round, log *slog.Logger) {
	for ctx.Err() == nil {
		w.follow(ctx, raw, r)
		r.end()
		if r = again(ctx, log); r == nil {
			return
		}
		tell(ctx, raw, ChangeLinks|ChangePaths)
	}
	r.end()
}

// follow tells of the changes of a round until it breaks or the context ends.
func (w *Watcher) follow(ctx context.Context, raw chan<- Change, r *round) {
	for {
		open, change := true, Change(0)
		select {
		case <-ctx.Done():
			return
		case update, ok := <-r.links:
			open = ok
			if ok && w.follows(update.Attrs().Name, update.Index) {
				change = ChangeLinks
			}
		case _, open = <-r.addrs:
			change = ChangePaths
		case _, open = <-r.routes:
			change = ChangePaths
		case _, open = <-r.neighbours:
			change = ChangePaths
		}
		if !open {
			return
		}
		if change != 0 {
			tell(ctx, raw, change)
		}
	}
}

func tell(ctx context.Context, raw chan<- Change, change Change) {
	select {
	case raw <- change:
	case <-ctx.Done():
	}
}

// again opens a round until it can; nil if the context ends before.
func again(ctx context.Context, log *slog.Logger) *round {
	const pause = time.Second
	for ctx.Err() == nil {
		if r, err := subscribe(ctx, log); err == nil {
			return r
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}
