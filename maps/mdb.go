// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"overcast/bpf"
)

// Receivers are those whom frames of a group are copied to, in ascending order.
type Receivers struct {
	Ports   []uint32 // ifindexes
	Remotes []uint32 // slots of remotes, with bpf.Relay or without
	Zone    []uint32 // slots of the remotes that this host relays to
}

// GroupKey is the key of a group's entry in the MDB, or of that for one of its
// sources; the zero source stands for all that have none of their own.
func GroupKey(segment uint32, group, source netip.Addr) bpf.MDBKey {
	key := bpf.MDBKey{Segment: segment, Group: bpf.AddrFrom(group)}
	if source.IsValid() {
		key.Source = bpf.AddrFrom(source)
	}
	return key
}

// UnknownKey is the key of the entry for the groups of a family that have none.
func UnknownKey(segment uint32, ipv6 bool) bpf.MDBKey {
	if ipv6 {
		return bpf.MDBKey{Segment: segment}
	}
	return bpf.MDBKey{Segment: segment, Group: bpf.AddrFrom(netip.IPv4Unspecified())}
}

// anySource is the key of a group's entry for all sources.
func anySource(key bpf.MDBKey) bpf.MDBKey {
	key.Source = bpf.Addr{}
	return key
}

// MDB is the agent's side of the groups: oc_mdb, oc_groups, and the lists that
// they name. One goroutine works with it, and nobody else writes those.
type MDB struct {
	set     *Set
	entries map[bpf.MDBKey]groupEntry
	sources map[bpf.MDBKey]int // by key for all sources: entries with a source
	free    []uint32           // slots
	lists   map[string]*groupList
	numbers map[uint32]bool // of the lists that there are
	last    uint32          // number of the list made last
	chunks  int             // of all lists
}

type groupEntry struct {
	slot                 uint32
	ports, remotes, zone *groupList // nil: empty
}

// groupList is a list that entries share; most groups have the same receivers
// as others.
type groupList struct {
	number  uint32
	ids     []uint32
	entries int
}

// OpenMDB takes over what the maps hold.
func (s *Set) OpenMDB() (*MDB, error) {
	m := &MDB{
		set:     s,
		entries: make(map[bpf.MDBKey]groupEntry),
		sources: make(map[bpf.MDBKey]int),
		lists:   make(map[string]*groupList),
		numbers: make(map[uint32]bool),
		last:    bpf.ListsGroups,
	}
	slots, err := s.mdb().all()
	if err != nil {
		return nil, err
	}
	floods, err := s.mdbFloods().all()
	if err != nil {
		return nil, err
	}
	for key := range floods {
		m.last = max(m.last, key.List)
	}
	held := Snapshot{Floods: floods}
	taken, odd := make(map[uint32]bool), []bpf.MDBKey{}
	err = mapped(s.Groups, func(groups []bpf.Group) error {
		for key, entry := range slots {
			if entry.Slot == 0 || entry.Slot >= uint32(len(groups)) || taken[entry.Slot] {
				odd = append(odd, key)
				continue
			}
			taken[entry.Slot] = true
			group := &groups[entry.Slot]
			m.entries[key] = groupEntry{entry.Slot, m.adopt(&held, group.Ports), m.adopt(&held, group.Remotes), m.adopt(&held, group.Zone)}
			m.noteSource(key, 1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for slot := s.Groups.MaxEntries() - 1; slot > 0; slot-- {
		if !taken[slot] {
			m.free = append(m.free, slot)
		}
	}
	return m, m.sweep(odd, floods)
}

// adopt notes a list that an entry names.
func (m *MDB) adopt(held *Snapshot, number uint32) *groupList {
	if number == 0 {
		return nil
	}
	ids := held.List(number)
	name := listName(ids)
	list := m.lists[name]
	if list == nil {
		list = &groupList{number: number, ids: ids}
		m.lists[name] = list
	}
	if !m.numbers[number] {
		m.numbers[number] = true
		m.chunks += chunksOf(len(ids))
	}
	list.entries++
	return list
}

// sweep removes entries that name no slot, and the lists that no entry names:
// an agent was killed before it could.
func (m *MDB) sweep(odd []bpf.MDBKey, floods map[bpf.FloodKey]bpf.Flood) error {
	var stale []bpf.FloodKey
	for key := range floods {
		if !m.numbers[key.List] {
			stale = append(stale, key)
		}
	}
	if len(odd)+len(stale) == 0 {
		return nil
	}
	err := errors.Join(m.set.mdb().remove(odd), m.set.mdbFloods().remove(stale))
	grace()
	return err
}

// noteSource counts the entries of a group that have a source.
func (m *MDB) noteSource(key bpf.MDBKey, change int) {
	any := anySource(key)
	if key == any {
		return
	}
	if m.sources[any] += change; m.sources[any] == 0 {
		delete(m.sources, any)
	}
}

// Entries returns what the MDB holds.
func (m *MDB) Entries() map[bpf.MDBKey]Receivers {
	all := make(map[bpf.MDBKey]Receivers, len(m.entries))
	for key, entry := range m.entries {
		all[key] = entry.receivers()
	}
	return all
}

func (e groupEntry) receivers() Receivers {
	return Receivers{e.ports.members(), e.remotes.members(), e.zone.members()}
}

func (l *groupList) members() []uint32 {
	if l == nil {
		return nil
	}
	return l.ids
}

// GroupsFullError says that the MDB has no room for all. A group that has found
// too little has one entry for all its sources, whose receivers are those of
// each, or none, and goes where unknown groups go.
type GroupsFullError struct {
	Groups   int             // that have found too little
	Segments map[uint32]bool // theirs, by slot
}

func (e *GroupsFullError) Error() string {
	return fmt.Sprintf("no room for %d groups as they were asked for, which go to more ports and hosts than want them: raise limits.groups", e.Groups)
}

// Apply adds and changes entries, and removes others. A receiver that stays
// gets each frame once meanwhile. A group is put whole: its entry for all
// sources, without which the others are not found, and those with a source.
// Where there is no room the error is a GroupsFullError, and all the rest is
// applied. After any other error all is to be put again: Entries has what there
// is.
func (m *MDB) Apply(put map[bpf.MDBKey]Receivers, remove []bpf.MDBKey) error {
	c := &groupChange{mdb: m, put: make(map[bpf.MDBKey]groupEntry, len(put))}
	full := c.choose(put, remove)
	var err error
	if len(c.put)+len(c.remove) > 0 {
		err = c.apply()
	}
	if err == nil {
		return full
	}
	// Whatever has been written is valid, and may be read this moment.
	grace()
	again, reopened := m.set.OpenMDB()
	if reopened == nil {
		*m = *again
	}
	return errors.Join(err, reopened)
}

func (c *groupChange) apply() error {
	if err := c.writeLists(); err != nil {
		return err
	}
	if err := mapped(c.mdb.set.Groups, c.turn); err != nil {
		return err
	}
	return c.giveBack()
}

// groupChange is a change of the MDB on its way.
type groupChange struct {
	mdb    *MDB
	put    map[bpf.MDBKey]groupEntry
	remove []bpf.MDBKey
	made   []*groupList // that are to be written
	left   []*groupList // that one entry less names
	past   []uint32     // slots that are given back
	stale  []bpf.FloodKey
}

// choose decides what is written, leaving out what is so already.
func (c *groupChange) choose(put map[bpf.MDBKey]Receivers, remove []bpf.MDBKey) error {
	full := &GroupsFullError{Segments: make(map[uint32]bool)}
	groups := make(map[bpf.MDBKey][]bpf.MDBKey)
	for key := range put {
		groups[anySource(key)] = append(groups[anySource(key)], key)
	}
	for _, any := range slices.SortedFunc(maps.Keys(groups), unknownFirst) {
		keys := groups[any]
		if c.fits(keys, put) {
			for _, key := range keys {
				c.choosePut(key, put[key])
			}
			continue
		}
		full.Groups++
		full.Segments[any.Segment] = true
		remove = append(remove, keys...)
		one := map[bpf.MDBKey]Receivers{any: union(keys, put)}
		if len(keys) > 1 && c.fits([]bpf.MDBKey{any}, one) {
			c.choosePut(any, one[any])
			remove = slices.DeleteFunc(remove, func(key bpf.MDBKey) bool { return key == any })
		}
	}
	c.chooseRemoved(remove)
	if full.Groups > 0 {
		return full
	}
	return nil
}

// unknownFirst puts the entries for unknown groups before the others: where
// they are, all depends on them.
func unknownFirst(a, b bpf.MDBKey) int {
	return cmp.Compare(flag(a.Group.NetAddr().IsMulticast()), flag(b.Group.NetAddr().IsMulticast()))
}

func (c *groupChange) chooseRemoved(keys []bpf.MDBKey) {
	for _, key := range keys {
		if old, there := c.mdb.entries[key]; there {
			c.remove, c.past = append(c.remove, key), append(c.past, old.slot)
			c.leave(old)
			c.mdb.noteSource(key, -1)
		}
	}
}

// reserve is the part of the slots that is kept for groups: entries with a
// source find no room in it, since one guest may ask for very many.
const reserve = 4

// fits tells whether there is room for a group's entries and their lists. What
// this change gives back is not there yet.
func (c *groupChange) fits(keys []bpf.MDBKey, put map[bpf.MDBKey]Receivers) bool {
	m, fresh, chunks := c.mdb, 0, 0
	counted := make(map[string]bool)
	for _, key := range keys {
		if _, there := m.entries[key]; !there {
			fresh++
		}
		to := put[key]
		for _, ids := range [][]uint32{to.Ports, to.Remotes, to.Zone} {
			name := listName(ids)
			if len(ids) > 0 && m.lists[name] == nil && !counted[name] {
				counted[name] = true
				chunks += chunksOf(len(ids))
			}
		}
	}
	room := len(m.free)
	if len(keys) > 1 && fresh > 0 {
		room -= int(m.set.MDB.MaxEntries() / reserve)
	}
	return fresh <= max(room, 0) && m.chunks+chunks <= int(m.set.MDBFloods.MaxEntries())
}

// union is the receivers of any of the entries.
func union(keys []bpf.MDBKey, put map[bpf.MDBKey]Receivers) Receivers {
	var all Receivers
	for _, key := range keys {
		all.Ports = append(all.Ports, put[key].Ports...)
		all.Remotes = append(all.Remotes, put[key].Remotes...)
		all.Zone = append(all.Zone, put[key].Zone...)
	}
	for _, ids := range []*[]uint32{&all.Ports, &all.Remotes, &all.Zone} {
		slices.Sort(*ids)
		*ids = slices.Compact(*ids)
	}
	return all
}

func (c *groupChange) choosePut(key bpf.MDBKey, to Receivers) {
	m := c.mdb
	old, there := m.entries[key]
	if there && old.holds(to) {
		return
	}
	entry := groupEntry{slot: old.slot}
	if !there {
		entry.slot, m.free = m.free[len(m.free)-1], m.free[:len(m.free)-1]
		m.noteSource(key, 1)
	}
	entry.ports, entry.remotes, entry.zone = c.list(to.Ports), c.list(to.Remotes), c.list(to.Zone)
	c.leave(old)
	c.put[key] = entry
}

func (e groupEntry) holds(to Receivers) bool {
	return slices.Equal(e.ports.members(), to.Ports) && slices.Equal(e.remotes.members(), to.Remotes) && slices.Equal(e.zone.members(), to.Zone)
}

// list finds or makes the list of these.
func (c *groupChange) list(ids []uint32) *groupList {
	if len(ids) == 0 {
		return nil
	}
	name := listName(ids)
	list := c.mdb.lists[name]
	if list == nil {
		list = &groupList{number: c.mdb.nextNumber(), ids: slices.Clone(ids)}
		c.mdb.lists[name] = list
		c.mdb.chunks += chunksOf(len(ids))
		c.made = append(c.made, list)
	}
	list.entries++
	return list
}

// nextNumber gives out the number of a list. They may come round.
func (m *MDB) nextNumber() uint32 {
	for {
		m.last = max(m.last+1, bpf.ListsGroups+1)
		if !m.numbers[m.last] {
			m.numbers[m.last] = true
			return m.last
		}
	}
}

func listName(ids []uint32) string {
	name := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		name = binary.NativeEndian.AppendUint32(name, id)
	}
	return string(name)
}

func (c *groupChange) leave(entry groupEntry) {
	for _, list := range []*groupList{entry.ports, entry.remotes, entry.zone} {
		if list != nil {
			c.left = append(c.left, list)
		}
	}
}

// writeLists writes the new lists. Nothing names them yet.
func (c *groupChange) writeLists() error {
	chunks := make(map[bpf.FloodKey]bpf.Flood)
	for _, list := range c.made {
		putList(chunks, list.number, list.ids)
	}
	return c.mdb.set.mdbFloods().put(chunks)
}

// turn makes the programs use what is new. A group's entries with a source are
// there before the one for all sources tells to look for them, and that tells
// it to everybody before it stops giving them what they get by their own.
func (c *groupChange) turn(groups []bpf.Group) error {
	m, table := c.mdb, c.mdb.set.mdb()
	fresh := [2]map[bpf.MDBKey]bpf.MDBEntry{{}, {}} // for all sources, with a source
	for key, entry := range c.put {
		if _, there := m.entries[key]; there {
			continue
		}
		group := &groups[entry.slot]
		atomic.StoreUint32(&group.Sources, flag(m.sources[key] > 0))
		entry.store(group)
		fresh[flag(key != anySource(key))][key] = bpf.MDBEntry{Slot: entry.slot}
	}
	if err := table.put(fresh[1]); err != nil {
		return err
	}
	told := false
	for key := range fresh[1] {
		if entry, there := m.entries[anySource(key)]; there {
			atomic.StoreUint32(&groups[entry.slot].Sources, 1)
			told = true
		}
	}
	// Who has looked for a source before it was there reads the other list yet.
	if told {
		grace()
	}
	if err := table.put(fresh[0]); err != nil {
		return err
	}
	for key, entry := range c.put {
		if _, there := m.entries[key]; there {
			entry.store(&groups[entry.slot])
		}
		m.entries[key] = entry
	}
	if err := table.remove(c.remove); err != nil {
		return err
	}
	for _, key := range c.remove {
		delete(m.entries, key)
		any := anySource(key)
		if entry, there := m.entries[any]; there && m.sources[any] == 0 {
			atomic.StoreUint32(&groups[entry.slot].Sources, 0)
		}
	}
	return nil
}

func flag(set bool) uint32 {
	if set {
		return 1
	}
	return 0
}

func (e groupEntry) store(group *bpf.Group) {
	atomic.StoreUint32(&group.Ports, e.ports.named())
	atomic.StoreUint32(&group.Remotes, e.remotes.named())
	atomic.StoreUint32(&group.Zone, e.zone.named())
}

func (l *groupList) named() uint32 {
	if l == nil {
		return 0
	}
	return l.number
}

// giveBack removes the lists that no entry names any more, and frees the slots,
// when nobody is left who reads them.
func (c *groupChange) giveBack() error {
	for _, list := range c.left {
		if list.entries--; list.entries > 0 {
			continue
		}
		delete(c.mdb.lists, listName(list.ids))
		delete(c.mdb.numbers, list.number)
		c.mdb.chunks -= chunksOf(len(list.ids))
		for chunk := range chunksOf(len(list.ids)) {
			c.stale = append(c.stale, bpf.FloodKey{List: list.number, Chunk: uint32(chunk)})
		}
	}
	if len(c.stale)+len(c.past) == 0 {
		return nil
	}
	grace()
	c.mdb.free = append(c.mdb.free, c.past...)
	if err := c.mdb.set.mdbFloods().remove(c.stale); err != nil {
		return err
	}
	// What is removed may be asked for again by the next change.
	grace()
	return nil
}
