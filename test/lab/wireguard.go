// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// WireGuard is the name of the device that [Lab.AddWireGuard] makes.
const WireGuard = "wg0"

// wireGuardPort is where it listens, the customary one.
const wireGuardPort = 51820

// HasWireGuard tells whether the kernel knows WireGuard devices.
func (n *Namespace) HasWireGuard() (bool, error) {
	return n.knows(&netlink.Wireguard{LinkAttrs: tryAttrs()})
}

// AddWireGuard joins all hosts by WireGuard, as a mesh, and has the addresses in
// there be their VTEPs.
func (l *Lab) AddWireGuard() error {
	ctx := context.Background()
	public := make([]string, len(l.Hosts))
	inside := func(i int) netip.Prefix {
		if l.options.Underlay == IPv6 {
			return netip.MustParsePrefix(fmt.Sprintf("fd00:77::%x/64", i+1))
		}
		return netip.MustParsePrefix(fmt.Sprintf("198.51.100.%d/24", i+1))
	}
	for i, h := range l.Hosts {
		key, err := h.Run(ctx, "wg", "genkey")
		if err != nil {
			return err
		}
		file := filepath.Join(l.Dir, h.Name+".key")
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			return fmt.Errorf("key of %s: %w", h.Name, err)
		}
		err = h.Do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = WireGuard
			return netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
		})
		if err != nil {
			return fmt.Errorf("%s: making the WireGuard device: %w", h.Name, err)
		}
		if _, err := h.Run(ctx, "wg", "set", WireGuard, "private-key", file, "listen-port", fmt.Sprint(wireGuardPort)); err != nil {
			return err
		}
		out, err := h.Run(ctx, "wg", "show", WireGuard, "public-key")
		if err != nil {
			return err
		}
		public[i] = strings.TrimSpace(out)
	}
	for i, h := range l.Hosts {
		for j, peer := range l.Hosts {
			if i == j {
				continue
			}
			host := netip.PrefixFrom(inside(j).Addr(), inside(j).Addr().BitLen())
			_, err := h.Run(ctx, "wg", "set", WireGuard, "peer", public[j], "allowed-ips", host.String(),
				"endpoint", netip.AddrPortFrom(peer.VTEP, wireGuardPort).String())
			if err != nil {
				return err
			}
		}
		if err := errors.Join(h.LinkUp(WireGuard), h.AddAddress(WireGuard, inside(i))); err != nil {
			return err
		}
	}
	for i, h := range l.Hosts {
		h.VTEP = inside(i).Addr()
	}
	return nil
}
