// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path/filepath"
	"strconv"
)

// SpeakMLD makes the guest speak this version of MLD and no other; 0 is the
// kernel's own choice. Groups that it is in already are told of when a query
// asks.
func (g *Guest) SpeakMLD(version int) error {
	return g.Sysctl(filepath.Join("net/ipv6/conf", GuestDevice, "force_mld_version"), strconv.Itoa(version))
}

// SpeakIGMP is the same for IGMP.
func (g *Guest) SpeakIGMP(version int) error {
	return g.Sysctl(filepath.Join("net/ipv4/conf", GuestDevice, "force_igmp_version"), strconv.Itoa(version))
}
