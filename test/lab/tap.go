// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Offloads of a tap (linux/if_tun.h): the reader takes unfinished checksums
// and super-frames.
const (
	tunFCsum = 0x01
	tunFTSO4 = 0x02
	tunFTSO6 = 0x04
)

// largestFrame is a super-frame with its virtio_net_hdr and Ethernet header.
const largestFrame = 10 + 14 + 4 + 65536

// attachTap makes a tap on the host and one in the guest, and carries frames
// between them, virtio headers and all, as a virtual machine's device model
// would.
func (g *Guest) attachTap(mac net.HardwareAddr) error {
	outside, err := openTap(g.owner, g.Port, nil, !g.Options.NoOffloads)
	if err != nil {
		return err
	}
	inside, err := openTap(g.Namespace, GuestDevice, mac, !g.Options.NoOffloads)
	if err != nil {
		outside.Close()
		return err
	}
	g.tap = outside
	g.lab.relays(outside, inside)
	return nil
}

// relays carries frames between two taps, both ways, as long as the lab lives.
func (l *Lab) relays(outside, inside *os.File) {
	go relay(outside, inside)
	go relay(inside, outside)
	l.defers(func() error {
		return errors.Join(ignoreClosed(outside.Close()), ignoreClosed(inside.Close()))
	})
}

// SendAsMachine gives the host's end of a tap a frame, as a virtual machine
// would: behind a virtio_net_hdr, which may say that the frame is a super-frame
// of a kind that the guest's kernel does not make.
func (g *Guest) SendAsMachine(header [10]byte, frame []byte) error {
	if _, err := g.tap.Write(append(header[:], frame...)); err != nil {
		return fmt.Errorf("%s: sending a frame as a machine: %w", g.Name, err)
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// openTap makes a tap device in a namespace; it lives as long as the file.
func openTap(n *Namespace, name string, mac net.HardwareAddr, offloads bool) (*os.File, error) {
	file, err := openTapFile(n, "/dev/net/tun", name, offloads)
	if err != nil || mac == nil {
		return file, err
	}
	return file, n.withLink(name, func(link netlink.Link) error { return netlink.LinkSetHardwareAddr(link, mac) })
}

// openTapFile opens a tap by the file of all of them, or a macvtap by its own.
func openTapFile(n *Namespace, path, name string, offloads bool) (*os.File, error) {
	var file *os.File
	err := n.Do(func() error {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("tap %s: %w", name, err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		flags := 0
		if offloads {
			flags = tunFCsum | tunFTSO4 | tunFTSO6
		}
		if err == nil {
			err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("tap %s: %w", name, err)
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	return file, err
}

// relay carries frames one way until either end is closed. A frame that the
// other end refuses (it may be down) is lost, as on a wire.
func relay(from, to *os.File) {
	defer from.Close()
	defer to.Close()
	frame := make([]byte, largestFrame)
	for {
		n, err := from.Read(frame)
		if errors.Is(err, unix.EIO) {
			continue // down for the moment
		}
		if err != nil {
			return
		}
		if _, err := to.Write(frame[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}
