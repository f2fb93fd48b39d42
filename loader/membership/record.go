// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"net/netip"
	"slices"
)

// apply does what a record does to a filter: the tables of RFC 3376 6.4 and
// RFC 3810 7.4, whose rows for the two modes come together once a source is in
// X because its timer runs, and in Y because it does not. lasting is until when
// what is told counts.
func (f *filter) apply(t *Table, r Record, lasting instant) {
	listed := slices.Clone(r.Sources)
	slices.SortFunc(listed, netip.Addr.Compare)
	listed = slices.Compact(listed)
	in := func(s source) bool {
		_, ok := slices.BinarySearchFunc(listed, s.addr, netip.Addr.Compare)
		return ok
	}
	switch r.Type {
	case ModeIsInclude, AllowNewSources:
		f.allow(t, listed, lasting)
	case ChangeToInclude:
		if f.allow(t, listed, lasting) {
			f.doubt(t, func(s source) bool { return !in(s) }, f.mode == Exclude)
		}
	case ModeIsExclude:
		f.exclude(t, listed, lasting, lasting)
	case ChangeToExclude:
		f.exclude(t, listed, f.until, lasting)
		f.doubt(t, func(source) bool { return true }, false)
	case BlockOldSources:
		if f.mode == Exclude {
			f.request(t, listed)
		}
		f.doubt(t, in, false)
	}
}

// allow adds sources that are wanted, or prolongs them. Where a list becomes
// too long, all sources are wanted until nobody has listed too many for a
// while, and allow says false.
func (f *filter) allow(t *Table, listed []netip.Addr, lasting instant) bool {
	for _, addr := range listed {
		i, ok := f.at(addr)
		switch {
		case ok:
			if f.sources[i].until <= t.now {
				f.touch(t)
			}
			f.sources[i].until = lasting
		case f.room(t) > 0:
			f.keep(slices.Insert(f.sources, i, source{addr: addr, until: lasting}))
			f.touch(t)
		default:
			f.crowded(t)
			f.until = lasting
			if f.mode == Include {
				f.mode = Exclude
				f.keep(nil)
				f.touch(t)
			}
			return false
		}
	}
	return true
}

// exclude goes to Exclude mode with these sources. What was known of them
// stays; of the others nothing does. One that was neither wanted nor unwanted
// gets a timer, since somebody else in Exclude mode may want it. Of too many
// sources the first are kept.
func (f *filter) exclude(t *Table, listed []netip.Addr, requested, lasting instant) {
	if most := max(len(f.sources)+f.room(t), 0); len(listed) > most {
		f.crowded(t)
		listed = listed[:most]
	}
	if f.mode == Include {
		requested = 0
	}
	var sources []source
	for _, addr := range listed {
		if i, ok := f.at(addr); ok {
			sources = append(sources, f.sources[i])
		} else {
			sources = append(sources, source{addr: addr, until: requested})
		}
	}
	same := func(a, b source) bool { return a.addr == b.addr }
	if f.mode != Exclude || !slices.EqualFunc(sources, f.sources, same) {
		f.touch(t)
	}
	f.mode, f.until = Exclude, lasting
	f.keep(sources)
}

// request adds sources that somebody no longer wants, in Exclude mode, with the
// time that the mode lasts.
func (f *filter) request(t *Table, listed []netip.Addr) {
	for _, addr := range listed {
		i, ok := f.at(addr)
		if ok {
			continue
		}
		if f.room(t) <= 0 {
			f.crowded(t)
			return
		}
		f.keep(slices.Insert(f.sources, i, source{addr: addr, until: f.until}))
		f.touch(t)
	}
}

// sourcesPerGroup is how many sources a port may want of each group that it may
// want, on average: one guest could otherwise fill the MDB with
// GroupsPerPort*Sources entries.
const sourcesPerGroup = 4

// room is how many more sources the filter may have.
func (f *filter) room(t *Table) int {
	room := t.cfg.Sources - len(f.sources)
	if m := f.link.member; m.Kind == Port {
		room = min(room, sourcesPerGroup*t.cfg.GroupsPerPort-m.sources)
	}
	return room
}

// keep gives the filter these sources instead of its own.
func (f *filter) keep(sources []source) {
	f.link.member.sources += len(sources) - f.held
	f.sources, f.held = sources, len(sources)
}

// crowded counts that a list of sources was cut.
func (f *filter) crowded(t *Table) {
	t.counters.Limits[LimitKey{f.link.member.Member, LimitSources}]++
}
