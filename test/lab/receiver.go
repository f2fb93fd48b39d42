// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Receiver is a socket of a guest that asks for a group, and counts what comes.
// The kernel's stack does the asking: MLD or IGMP, in the version that it is
// set to, merged with what the guest's other sockets want.
type Receiver struct {
	file  *os.File
	group netip.Addr
	index uint32
	done  chan struct{}

	mu      sync.Mutex
	tallies map[netip.Addr]Tally
}

// Socket options of linux/in.h and linux/in6.h.
const (
	ipMulticastAll   = 49
	ipv6MulticastAll = 29
	mcastMSFilter    = 48
)

// The filter modes of MCAST_MSFILTER (linux/in.h).
const (
	modeExclude = 0
	modeInclude = 1
)

// OpenReceiver opens a receiver for packets to the group and port. It asks for
// nothing yet. It ends with the lab.
func (g *Guest) OpenReceiver(to netip.AddrPort) (*Receiver, error) {
	index, err := g.LinkIndex(GuestDevice)
	if err != nil {
		return nil, err
	}
	r := &Receiver{group: to.Addr(), index: index, done: make(chan struct{}), tallies: make(map[netip.Addr]Tally)}
	if err := g.Do(func() error { return r.open(to) }); err != nil {
		return nil, fmt.Errorf("%s: receiver for %s: %w", g.Name, to, err)
	}
	go r.read()
	g.lab.defers(r.Close)
	return r, nil
}

func (r *Receiver) open(to netip.AddrPort) error {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: r.index})
	level, all := unix.IPPROTO_IPV6, ipv6MulticastAll
	if to.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
		level, all = unix.IPPROTO_IP, ipMulticastAll
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	r.file = os.NewFile(uintptr(fd), "receiver")
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.BindToDevice(fd, GuestDevice),
		// What other sockets of the guest have asked for does not come here.
		unix.SetsockoptInt(fd, level, all, 0),
		unix.Bind(fd, address))
	if err != nil {
		r.file.Close()
	}
	return err
}

func (r *Receiver) read() {
	defer close(r.done)
	raw, err := r.file.SyscallConn()
	if err != nil {
		return
	}
	packet := make([]byte, 65536)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), packet, 0)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		if err != nil {
			return // closed
		}
		if number, ok := readNumber(packet[:n]); ok && failed == nil {
			r.mu.Lock()
			count(r.tallies, socketAddr(from), number)
			r.mu.Unlock()
		}
	}
}

func socketAddr(a unix.Sockaddr) netip.Addr {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}

// Received is what has come from a source.
func (r *Receiver) Received(source netip.Addr) Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.tallies[source])
}

// Sources are those that something has come from, in order.
func (r *Receiver) Sources() []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Keys(r.tallies), netip.Addr.Compare)
}

// Join asks for the group from any source.
func (r *Receiver) Join() error {
	return r.option("joining", unix.MCAST_JOIN_GROUP, r.request())
}

// Leave asks for the group no more.
func (r *Receiver) Leave() error {
	return r.option("leaving", unix.MCAST_LEAVE_GROUP, r.request())
}

// JoinSource adds a source to those that the group is asked for from, the
// first one too.
func (r *Receiver) JoinSource(source netip.Addr) error {
	return r.option("joining the source "+source.String(), unix.MCAST_JOIN_SOURCE_GROUP, r.request(source))
}

// LeaveSource takes a source away from those again; with the last one goes the
// group.
func (r *Receiver) LeaveSource(source netip.Addr) error {
	return r.option("leaving the source "+source.String(), unix.MCAST_LEAVE_SOURCE_GROUP, r.request(source))
}

// Block refuses a source of a group that was joined from any.
func (r *Receiver) Block(source netip.Addr) error {
	return r.option("blocking "+source.String(), unix.MCAST_BLOCK_SOURCE, r.request(source))
}

// Unblock takes a source again that was blocked.
func (r *Receiver) Unblock(source netip.Addr) error {
	return r.option("unblocking "+source.String(), unix.MCAST_UNBLOCK_SOURCE, r.request(source))
}

// Include asks for the group from these sources and no others, in the place of
// what was asked for before. None is to leave.
func (r *Receiver) Include(sources ...netip.Addr) error {
	return r.filter(modeInclude, sources)
}

// Exclude asks for the group from all but these sources, in the place of what
// was asked for before.
func (r *Receiver) Exclude(sources ...netip.Addr) error {
	return r.filter(modeExclude, sources)
}

// filter writes the whole filter. The kernel has it that a socket is in the
// group before: one that is not joins with its first source.
func (r *Receiver) filter(mode uint32, sources []netip.Addr) error {
	what := fmt.Sprintf("filter mode %d of %v", mode, sources)
	set := r.groupFilter(mode, sources)
	err := r.option(what, mcastMSFilter, set)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	if mode == modeInclude && len(sources) > 0 {
		err = r.JoinSource(sources[0])
	} else {
		err = r.Join()
	}
	if err != nil {
		return err
	}
	return r.option(what, mcastMSFilter, set)
}

// request is a struct group_req, or with a source a struct group_source_req
// (linux/in.h): the device's index, and sockaddr_storages aligned to 8 bytes.
func (r *Receiver) request(source ...netip.Addr) []byte {
	b := make([]byte, 8)
	binary.NativeEndian.PutUint32(b, r.index)
	for _, addr := range append([]netip.Addr{r.group}, source...) {
		b = append(b, storage(addr)...)
	}
	return b
}

// groupFilter is a struct group_filter (linux/in.h).
func (r *Receiver) groupFilter(mode uint32, sources []netip.Addr) []byte {
	b := r.request()
	b = binary.NativeEndian.AppendUint32(b, mode)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(sources)))
	for _, source := range sources {
		b = append(b, storage(source)...)
	}
	if len(sources) == 0 {
		b = append(b, make([]byte, unsafe.Sizeof(unix.RawSockaddrAny{}))...)
	}
	return b
}

// storage is a struct sockaddr_storage.
func storage(addr netip.Addr) []byte {
	b := make([]byte, 128)
	if addr.Is4() {
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		copy(b[4:], addr.AsSlice())
		return b
	}
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	copy(b[8:], addr.AsSlice())
	return b
}

func (r *Receiver) option(what string, option int, value []byte) error {
	level := unix.IPPROTO_IPV6
	if r.group.Is4() {
		level = unix.IPPROTO_IP
	}
	raw, err := r.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptString(int(fd), level, option, string(value)) })
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("%s: %s: %w", r.group, what, err)
	}
	return nil
}

// Close leaves, and ends the counting. What was counted can still be read. It
// may be called again.
func (r *Receiver) Close() error {
	err := ignoreClosed(r.file.Close())
	<-r.done
	return err
}
