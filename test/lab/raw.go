// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Raw is a packet socket on a device: whole frames, both ways.
type Raw struct {
	file   *os.File
	buffer []byte // of Read
}

// OpenRaw opens a packet socket on a device of the namespace.
func (n *Namespace) OpenRaw(device string) (*Raw, error) {
	var r *Raw
	err := n.withLink(device, func(link netlink.Link) error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(networkOrder(unix.ETH_P_ALL)))
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		// A capture that loses frames would make tests lie.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: link.Attrs().Index})
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("packet socket: %w", err)
		}
		r = &Raw{os.NewFile(uintptr(fd), device), make([]byte, largestFrame)}
		return nil
	})
	return r, err
}

func networkOrder(v uint16) uint16 {
	return v<<8 | v>>8
}

// Write sends a frame, from its Ethernet header on.
func (r *Raw) Write(frame []byte) error {
	_, err := r.file.Write(frame)
	return err
}

// SetReadDeadline ends a Read that takes longer.
func (r *Raw) SetReadDeadline(t time.Time) error {
	return r.file.SetReadDeadline(t)
}

// Read waits for a frame, in whichever direction, as it is on the wire: the
// kernel keeps an outermost VLAN tag beside the frame, and it is put back. The
// time is the kernel's, so frames of several sockets can be put in order. One
// goroutine at a time may read.
func (r *Raw) Read() (Frame, error) {
	conn, err := r.file.SyscallConn()
	if err != nil {
		return Frame{}, err
	}
	control := make([]byte, 128)
	var n, controlLen int
	var from unix.Sockaddr
	var readErr error
	err = conn.Read(func(fd uintptr) bool {
		n, controlLen, _, from, readErr = unix.Recvmsg(int(fd), r.buffer, control, 0)
		return readErr != unix.EAGAIN && readErr != unix.EINTR
	})
	if err == nil {
		err = readErr
	}
	if err != nil {
		return Frame{}, err
	}
	frame := Frame{Data: bytes.Clone(r.buffer[:n])}
	if at, ok := from.(*unix.SockaddrLinklayer); ok {
		frame.Outgoing = at.Pkttype == unix.PACKET_OUTGOING
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	for _, m := range messages {
		frame.read(m)
	}
	return frame, err
}

// read takes over what the kernel says beside a frame.
func (f *Frame) read(m unix.SocketControlMessage) {
	switch {
	case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS:
		f.Time = time.Unix(0, (*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Nano())
	case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA:
		aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
		if aux.Status&unix.TP_STATUS_VLAN_VALID != 0 && len(f.Data) >= 12 {
			tagged := append(make([]byte, 0, len(f.Data)+4), f.Data[:12]...)
			tagged = binary.BigEndian.AppendUint16(tagged, aux.Vlan_tpid)
			tagged = binary.BigEndian.AppendUint16(tagged, aux.Vlan_tci)
			f.Data = append(tagged, f.Data[12:]...)
		}
	}
}

// Lost is how many frames the socket had no room for since it was last asked.
func (r *Raw) Lost() (uint32, error) {
	conn, err := r.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var stats *unix.TpacketStats
	var failed error
	err = conn.Control(func(fd uintptr) {
		stats, failed = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("statistics of a packet socket: %w", err)
	}
	return stats.Drops, nil
}

// Close closes the socket and ends a Read that waits.
func (r *Raw) Close() error {
	return r.file.Close()
}
