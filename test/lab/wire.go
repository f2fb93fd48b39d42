// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

type ethtoolValue struct {
	cmd  uint32
	data uint32
}

type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ethtool sets or reads one of the old single-word offload settings. They
// stand for all of their kind: TSO for every TCP segmentation, also in tunnels.
func ethtool(device string, cmd, data uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("ethtool socket: %w", err)
	}
	defer unix.Close(fd)
	value := ethtoolValue{cmd, data}
	request := ethtoolRequest{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return 0, fmt.Errorf("ethtool command %#x on %s: %w", cmd, device, errno)
	}
	return value.data, nil
}

// SingleFrames makes a guest's device hand out only single frames whose
// checksums are complete, as a switch that is no part of the kernel needs them.
func (g *Guest) SingleFrames() error {
	return g.Do(func() error {
		for _, setting := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_STXCSUM} {
			if _, err := ethtool(GuestDevice, setting, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// WholeChecksums makes a device send only packets whose checksums are complete, as
// they would be behind a network card.
func (n *Namespace) WholeChecksums(device string) error {
	return n.Do(func() error {
		_, err := ethtool(device, unix.ETHTOOL_STXCSUM, 0)
		return err
	})
}

// setWire makes a device of the underlay behave as its kind of wire does.
func (n *Namespace) setWire(device string, wire Wire) error {
	segmentation, merging := uint32(1), uint32(0)
	if wire != SuperFrames {
		segmentation = 0
	}
	if wire == PlainNIC || wire == NativeXDP {
		merging = 1
	}
	return n.Do(func() error {
		for _, setting := range []struct{ set, get, value uint32 }{
			{unix.ETHTOOL_STSO, unix.ETHTOOL_GTSO, segmentation},
			{unix.ETHTOOL_SGSO, unix.ETHTOOL_GGSO, segmentation},
			{unix.ETHTOOL_SGRO, unix.ETHTOOL_GGRO, merging},
		} {
			if _, err := ethtool(device, setting.set, setting.value); err != nil {
				return err
			}
			got, err := ethtool(device, setting.get, 0)
			if err != nil {
				return err
			}
			if got != setting.value {
				return fmt.Errorf("%s: ethtool setting %#x of %s is %d and should be %d", n.namespace, setting.set, device, got, setting.value)
			}
		}
		return nil
	})
}
