// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct {
	cmd  uint32
	data uint32
}

// ifreqPointer is struct ifreq with ifr_data (linux/if.h).
type ifreqPointer struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

func ethtool(device string, value *ethtoolValue) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("ethtool socket: %w", err)
	}
	defer unix.Close(fd)
	req := ifreqPointer{data: unsafe.Pointer(value)}
	copy(req.name[:unix.IFNAMSIZ-1], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return fmt.Errorf("ethtool on %s: %w", device, errno)
	}
	return nil
}

// groOn tells whether a device merges what it receives.
func groOn(device string) (bool, error) {
	value := ethtoolValue{cmd: unix.ETHTOOL_GGRO}
	err := ethtool(device, &value)
	return value.data != 0, err
}

// setGRO makes a device merge what it receives, or not. On a veth it also
// switches NAPI on, without which native XDP is slower than none.
func setGRO(device string, on bool) error {
	value := ethtoolValue{cmd: unix.ETHTOOL_SGRO}
	if on {
		value.data = 1
	}
	return ethtool(device, &value)
}
