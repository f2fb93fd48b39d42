// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"overcast/test/kernel"
	"overcast/test/kernel/plan"
	"overcast/test/lab"
)

// machineMAC is the machine's, and machineAddress what it makes of it and of the
// advertised prefix (RFC 4291, appendix A).
const (
	machineMAC     = "02:00:00:00:99:01"
	machineAddress = "2001:db8:99::ff:fe00:9901"
)

// machinePage is what the machine serves beside the parcel.
const machinePage = "a page of a virtual machine"

// machineLease is what dhclient calls in the machine (dhclient-script(8)): it
// may ask once the device has a link-local address.
const machineLease = `#!/bin/busybox sh
case $reason in
PREINIT6)
	ip link set eth0 up
	until ip -6 addr show dev eth0 scope link | grep inet6 | grep -vq tentative; do sleep 0.1; done ;;
BOUND6)
	ip -6 addr add $new_ip6_address/128 dev eth0
	echo "leased $new_ip6_address" ;;
esac
`

// machineServe fetches the parcel and serves it again, so that it goes through
// the machine both ways.
const machineServe = `
until ip -6 addr show dev eth0 scope global | grep 'inet6 2001:db8:99:' | grep -vq tentative; do sleep 0.1; done
mkdir /tmp/pages && cd /tmp/pages || exit
wget -q -O parcel http://[2001:45::2]:8080/parcel || exit
echo "` + machinePage + `" >page
echo "parcel $(sha256sum <parcel | cut -d' ' -f1)"
exec httpd -f -p 80
`

// A virtual machine (Debian's 6.1 under qemu, a virtio card with all offloads on
// a tap) gets an address by router advertisements (radvd) and one by DHCPv6
// (dnsmasq, dhclient) from another host, is reached at both, and megabytes go
// both ways in super-frames, and none of them differ.
// It runs by itself, as it takes a processor from flows of tests beside it.
func TestVirtualMachine(t *testing.T) {
	image, err := kernel.Fetch(t.Context(), kernel.Cache, "6.1")
	if err != nil {
		t.Fatal(err)
	}
	p := newParty(t, lab.Options{Hosts: 2}, 0, quick)
	a, b := p.Hosts[0], p.Hosts[1]
	router, client := p.addGuest(b, "router", lab.GuestOptions{}), p.addGuest(b, "client", lab.GuestOptions{})
	if err := a.AddMachineTap("tap0"); err != nil {
		t.Fatal(err)
	}
	p.ports = append(p.ports, fmt.Sprintf("{name: vm, host: %s, interface: tap0, mac: %q}", a.Name, machineMAC))
	p.start()
	p.startRouter(router)
	parcel := p.offer(client)
	if err := client.AddAddress(lab.GuestDevice, netip.MustParsePrefix("2001:db8:99::2/64")); err != nil {
		t.Fatal(err)
	}
	port, err := p.Capture(a.Namespace, "tap0", "the machine's port")
	if err != nil {
		t.Fatal(err)
	}

	vm := p.bootMachine(a, image)
	p.says(vm, fmt.Sprintf("parcel %x\n", sha256.Sum256(parcel)))
	leased := netip.Addr{}
	for line := range strings.Lines(console(vm)) {
		if text, ok := strings.CutPrefix(line, "leased "); ok {
			leased = netip.MustParseAddr(strings.TrimSpace(text))
		}
	}
	if !netip.MustParsePrefix("2001:45::1000/116").Contains(leased) {
		t.Fatalf("the machine's address is %s, which dnsmasq does not give", leased)
	}
	for _, address := range []string{leased.String(), machineAddress} {
		p.ping(client, address)
		url := "http://[" + address + "]/"
		p.eventually("the machine's server", func() bool {
			_, err := client.Run(t.Context(), "curl", "-sf", "-o", "/dev/null", url+"page")
			return err == nil
		})
		if got := p.run(client.Namespace, "curl", "-sSf", url+"page"); got != machinePage+"\n" {
			t.Errorf("%s has a page of %q", address, got)
		}
		if got := p.run(client.Namespace, "curl", "-sSf", url+"parcel"); got != string(parcel) {
			t.Errorf("%s has a parcel of %d bytes that is not that of %d which it was given", address, len(got), len(parcel))
		}
	}
	from, to := 0, 0
	for _, f := range port.Frames() {
		switch {
		case len(f.Data) <= 1514:
		case f.Outgoing:
			to++
		default:
			from++
		}
	}
	t.Logf("super-frames: %d from the machine, %d to it", from, to)
	if from == 0 || to == 0 {
		t.Errorf("%d super-frames came from the machine and %d went to it", from, to)
	}
	p.clean()
	p.noDrops()
}

// startRouter starts radvd and dnsmasq in a guest: one prefix is for addresses
// of one's own, the segment's is for DHCPv6.
func (p *party) startRouter(g *lab.Guest) {
	p.t.Helper()
	if err := g.Sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
		p.t.Fatal(err)
	}
	config := p.file("radvd.conf", "interface "+lab.GuestDevice+` {
	AdvSendAdvert on;
	AdvManagedFlag on;
	prefix 2001:db8:99::/64 {};
	prefix 2001:45::/64 { AdvAutonomous off; };
};
`)
	p.launch(g, "radvd", "--nodaemon", "--config", config, "--pidfile", filepath.Join(p.Dir, "radvd.pid"), "--logmethod", "stderr")
	p.startDHCPv6(g)
}

// offer serves some megabytes to the machine, and returns them.
func (p *party) offer(g *lab.Guest) []byte {
	p.t.Helper()
	parcel := cargo()[:8<<20]
	listener, err := g.Listen(netip.MustParseAddrPort("[2001:45::2]:8080"))
	if err != nil {
		p.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "parcel", time.Time{}, bytes.NewReader(parcel))
	})}
	go func() { _ = server.Serve(listener) }() // it ends by being closed
	p.t.Cleanup(func() { _ = server.Close() })
	return parcel
}

// bootMachine starts the machine on a host.
func (p *party) bootMachine(h *lab.Host, image kernel.Image) *lab.Process {
	p.t.Helper()
	busybox := "/bin/busybox"
	machine := kernel.Machine{
		Image:   image,
		Modules: []string{"virtio_pci", "virtio_net"},
		Files: map[string]string{
			"/init":      kernel.Build(p.t, p.Dir, "init", "build", "overcast/test/kernel/init"),
			"/bin/lease": p.file("lease", machineLease),
			busybox:      busybox,
		},
		Commands: []plan.Command{
			{Name: "dhcp", Args: []string{"/bin/dhclient", "-6", "-1", "-v", "-cf", "/dev/null", "-lf", "/tmp/leases", "-pf", "/tmp/pid", "-sf", "/bin/lease", "eth0"}},
			{Name: "serve", Args: []string{busybox, "sh", "-c", machineServe}},
		},
		NIC: &kernel.NIC{Tap: "tap0", MAC: machineMAC},
	}
	maps.Copy(machine.Files, kernel.WithLibraries(p.t, "dhclient"))
	cmd, err := machine.Command(p.t.Context(), p.Dir)
	if err != nil {
		p.t.Fatal(err)
	}
	vm, err := h.StartLogged("console.log", cmd)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("the machine's console:\n%s", console(vm))
		}
	})
	return vm
}

// console is what a machine has printed.
func console(vm *lab.Process) string {
	return strings.ReplaceAll(vm.Log(), "\r", "")
}

// says waits until a machine has printed something. Without KVM and beside other
// tests that takes its time; the limit only ends a test that would hang.
func (p *party) says(vm *lab.Process, text string) {
	p.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !strings.Contains(console(vm), text); time.Sleep(50 * time.Millisecond) {
		ended, err := vm.Ended()
		if ended || strings.Contains(console(vm), plan.End+"serve") || time.Now().After(deadline) {
			p.t.Fatalf("the machine has not said %q; qemu ended: %t, %v", text, ended, err)
		}
	}
}
