// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// BridgeQuerier is how the bridge of a switch asks for memberships.
type BridgeQuerier struct {
	Address          netip.Prefix // IPv4, of the bridge; its MLD queries have its link-local address
	Interval         time.Duration
	ResponseInterval time.Duration
	LastMember       time.Duration // twice this long is waited for others when one leaves
	MLD, IGMP        uint8         // versions; 0: the kernel's choice
}

// clockTicks is how many units of a bridge's times are a second (USER_HZ).
const clockTicks = 100

// StartQuerier makes the bridge of the namespace's switch a querier, with a
// source address in either family: without one it asks for IPv6 not at all, and
// for IPv4 from 0.0.0.0.
func (n *Namespace) StartQuerier(q BridgeQuerier) error {
	if err := n.ipv6(switchBridge, "disable_ipv6", "0"); err != nil {
		return err
	}
	if err := n.quietIPv6(switchBridge); err != nil {
		return err
	}
	if err := n.AddAddress(switchBridge, q.Address); err != nil {
		return err
	}
	ticks := func(d time.Duration) []byte {
		return binary.NativeEndian.AppendUint64(nil, uint64(d*clockTicks/time.Second))
	}
	settings := []setting{
		{nl.IFLA_BR_MCAST_QUERY_USE_IFADDR, flag(true)},
		{nl.IFLA_BR_MCAST_QUERY_INTVL, ticks(q.Interval)},
		{nl.IFLA_BR_MCAST_STARTUP_QUERY_INTVL, ticks(q.Interval)},
		{nl.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, ticks(q.ResponseInterval)},
		{nl.IFLA_BR_MCAST_LAST_MEMBER_INTVL, ticks(q.LastMember)},
		{nl.IFLA_BR_MCAST_MEMBERSHIP_INTVL, ticks(2*q.Interval + q.ResponseInterval)},
		{nl.IFLA_BR_MCAST_QUERIER_INTVL, ticks(2*q.Interval + q.ResponseInterval/2)},
	}
	if q.MLD > 0 {
		settings = append(settings, setting{nl.IFLA_BR_MCAST_MLD_VERSION, nl.Uint8Attr(q.MLD)})
	}
	if q.IGMP > 0 {
		settings = append(settings, setting{nl.IFLA_BR_MCAST_IGMP_VERSION, nl.Uint8Attr(q.IGMP)})
	}
	return n.setBridge(append(settings, setting{nl.IFLA_BR_MCAST_QUERIER, flag(true)}))
}

// StopQuerier makes it none again.
func (n *Namespace) StopQuerier() error {
	return n.setBridge([]setting{{nl.IFLA_BR_MCAST_QUERIER, flag(false)}})
}

// setting is an attribute of a bridge.
type setting struct {
	attribute int
	value     []byte
}

// setBridge writes settings of the switch's bridge, one at a time, in order.
func (n *Namespace) setBridge(settings []setting) error {
	return n.Do(func() error {
		for _, s := range settings {
			request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
			request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
			request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(switchBridge)))
			info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
			info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
			info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(s.attribute, s.value)
			request.AddData(info)
			if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
				return fmt.Errorf("%s: bridge attribute %d: %w", n.namespace, s.attribute, err)
			}
		}
		return nil
	})
}
