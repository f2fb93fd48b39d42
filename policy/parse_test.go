// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const good = `tunnel: {encapsulation: vxlan, port: 4789}
hosts:
  - {name: host-a, vtep: 192.0.2.1, zone: az1}
  - {name: host-b, vtep: 192.0.2.2, zone: az1}
  - {name: tor, vtep: 192.0.2.9, foreign: true}
environments:
  - name: shop
    segments:
      - name: lan
        vni: 4500
        mtu: auto
        learning: true
        unknown_unicast: drop
        members: [tor]
        ports:
          - {name: web,    host: host-b, interface: tap-web, mac: "02:00:00:00:00:0b", ips: ["2001:45::5", "10.9.0.2"]}
          - {name: client, host: host-a, interface: tap-cli, mac: "02:00:00:00:00:0A", ips: ["2001:45::4", "10.9.0.1"], extra_macs: ["02:00:00:00:01:0a"]}
          - {name: cluster, host: host-b, interface: tap-clu, extra_macs: any}
      - {name: empty, vni: 4501, members: [host-b]}
`

func parse(t *testing.T, texts ...string) (*Model, error) {
	t.Helper()
	var docs []Document
	for i, text := range texts {
		docs = append(docs, Document{Name: fmt.Sprintf("%c.yaml", 'a'+i), Data: []byte(text)})
	}
	return Parse(docs)
}

func TestState(t *testing.T) {
	model, err := parse(t, good)
	if err != nil {
		t.Fatal(err)
	}
	a := Host{Name: "host-a", VTEP: netip.MustParseAddr("192.0.2.1"), Zone: "az1"}
	b := Host{Name: "host-b", VTEP: netip.MustParseAddr("192.0.2.2"), Zone: "az1"}
	tor := Host{Name: "tor", VTEP: netip.MustParseAddr("192.0.2.9"), Foreign: true}
	clientMAC, clientExtra, webMAC := MAC{2, 0, 0, 0, 0, 0x0a}, MAC{2, 0, 0, 0, 1, 0x0a}, MAC{2, 0, 0, 0, 0, 0x0b}
	client := Port{Name: "client", Interface: "tap-cli", MAC: clientMAC, HasMAC: true, ExtraMACs: []MAC{clientExtra},
		IPs: []netip.Addr{netip.MustParseAddr("2001:45::4"), netip.MustParseAddr("10.9.0.1")}}
	web := Port{Name: "web", Interface: "tap-web", MAC: webMAC, HasMAC: true,
		IPs: []netip.Addr{netip.MustParseAddr("2001:45::5"), netip.MustParseAddr("10.9.0.2")}}
	cluster := Port{Name: "cluster", Interface: "tap-clu", AnyMAC: true}
	neighbors := func(client, web Neighbor) []Neighbor {
		var all []Neighbor
		for i, ip := range []string{"10.9.0.1", "10.9.0.2", "2001:45::4", "2001:45::5"} {
			n := []Neighbor{client, web}[i%2]
			n.IP, n.MAC = netip.MustParseAddr(ip), []MAC{clientMAC, webMAC}[i%2]
			all = append(all, n)
		}
		return all
	}
	wants := map[string]*State{
		"host-a": {
			Host: a, Tunnel: DefaultTunnel(VXLAN), Remotes: []Remote{b, tor},
			Segments: []Segment{{Environment: "shop", Name: "lan", VNI: 4500, Learning: true, Multicast: DefaultMulticast(), NeighborAnswers: true,
				Remotes: []netip.Addr{b.VTEP, tor.VTEP}, Ports: []Port{client},
				FDB:       []Entry{{MAC: clientMAC, Port: "client"}, {MAC: webMAC, VTEP: b.VTEP}, {MAC: clientExtra, Port: "client"}},
				Neighbors: neighbors(Neighbor{Port: "client"}, Neighbor{VTEP: b.VTEP})}},
		},
		"host-b": {
			Host: b, Tunnel: DefaultTunnel(VXLAN), Remotes: []Remote{a, tor},
			Segments: []Segment{{Environment: "shop", Name: "lan", VNI: 4500, Learning: true, Multicast: DefaultMulticast(), NeighborAnswers: true,
				Remotes: []netip.Addr{a.VTEP, tor.VTEP}, Ports: []Port{cluster, web},
				FDB:       []Entry{{MAC: clientMAC, VTEP: a.VTEP}, {MAC: webMAC, Port: "web"}, {MAC: clientExtra, VTEP: a.VTEP}},
				Neighbors: neighbors(Neighbor{VTEP: a.VTEP}, Neighbor{Port: "web"})},
				{Environment: "shop", Name: "empty", VNI: 4501, Multicast: DefaultMulticast(), NeighborAnswers: true}},
		},
	}
	for host, want := range wants {
		got, err := model.State(host)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", host, diff)
		}
	}
}

// The document that the README shows is right, and says of groups what holds
// without it.
func TestDocumentation(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "All that there is:\n\n```yaml\n")
	text, _, ok := strings.Cut(text, "```\n")
	if !ok {
		t.Fatal("no document in the README")
	}
	model, err := parse(t, text)
	if err != nil {
		t.Fatal(err)
	}
	s := model.Environments[0].Segments[0]
	if s.Multicast != DefaultMulticast() || !s.NeighborAnswers {
		t.Errorf("got %+v, want the defaults", s)
	}
}

func TestStateOfNobody(t *testing.T) {
	model, err := parse(t, good)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"elsewhere": `host "elsewhere" is not among the configured hosts (host-a, host-b, tor): add it, or set host`,
		"tor":       `host "tor" is configured as foreign, a VTEP without this agent: remove foreign, or set host`,
	} {
		if _, err := model.State(host); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Each mistake is told with its line and column and with what would be right.
func TestProblems(t *testing.T) {
	const hosts = "hosts:\n  - {name: a, vtep: 192.0.2.1}\n  - {name: b, vtep: 192.0.2.2}\n"
	const ports = hosts + "environments:\n  - name: e\n    segments:\n      - name: s\n        vni: 7\n        ports:\n"
	const segment = hosts + "environments:\n  - name: e\n    segments:\n"
	const macWant = `want a unicast MAC like "02:00:00:00:00:0a"`
	const nameWant = "want 1 to 63 letters, digits, dots, dashes and underscores, the first a letter or digit"
	const vtepWant = "want a unicast IPv4 or IPv6 address without a zone, like 192.0.2.1"
	for name, c := range map[string]struct {
		docs []string
		want []string
	}{
		"unknown key": {[]string{"host: []\n"},
			[]string{`a.yaml:1:1: host: unknown key "host"; want one of tunnel, hosts, environments (did you mean hosts?)`}},
		"unknown key, nothing near": {[]string{"flavour: x\n"},
			[]string{`a.yaml:1:1: flavour: unknown key "flavour"; want one of tunnel, hosts, environments`}},
		"not a mapping": {[]string{"- a\n"}, []string{`a.yaml:1:1: a list; want a mapping with tunnel, hosts, environments`}},
		"key twice":     {[]string{"hosts: []\nhosts: []\n"}, []string{`a.yaml:2:1: hosts: key given twice, first at line 1; want it once`}},
		"not a list":    {[]string{"hosts: 3\n"}, []string{`a.yaml:1:8: hosts: "3"; want a list`}},
		"syntax":        {[]string{"hosts:\n  - {name: [\n"}, []string{`a.yaml:2:12: not YAML: what begins here goes wrong at line 3: did not find expected node content; want a YAML document`}},
		"not UTF-8":     {[]string{"hosts: []\n# \xff\n"}, []string{`a.yaml:2:3: not UTF-8 text; want a YAML document in UTF-8`}},
		"two documents": {[]string{"hosts: []\n---\nhosts: []\n"}, []string{`a.yaml:2:1: a second YAML document; want one document per file`}},
		"anchor":        {[]string{"hosts: &h []\n"}, []string{`a.yaml:1:8: anchors and aliases are not read; want every value written out`}},
		"tunnel":        {[]string{"tunnel: {encapsulation: gre, port: 0}\n"}, []string{`a.yaml:1:25: tunnel.encapsulation: "gre"; want vxlan or geneve`, `a.yaml:1:36: tunnel.port: "0"; want a number from 1 to 65535`}},
		"two tunnels":   {[]string{"tunnel: {port: 4789}\n", "tunnel: {port: 4790}\n"}, []string{`b.yaml:1:9: tunnel: differs from the one at a.yaml:1:9; want the same for all hosts`}},
		"host without":  {[]string{"hosts:\n  - {zone: z}\n"}, []string{"a.yaml:2:5: hosts[0].name: missing; want a name", "a.yaml:2:5: hosts[0].vtep: missing; want a vtep"}},
		"host twice": {[]string{hosts, "hosts:\n  - {name: a, vtep: 192.0.2.2}\n"},
			[]string{"b.yaml:2:12: hosts[0].name: host a is used already at a.yaml:2:12; want another one", "b.yaml:2:21: hosts[0].vtep: VTEP 192.0.2.2 is used already at a.yaml:3:21; want another one"}},
		"vtep": {[]string{"hosts:\n  - {name: a, vtep: 224.0.0.1}\n  - {name: b, vtep: fe80::1}\n  - {name: c, vtep: 300.1.1.1}\n  - {name: d, vtep: \"::ffff:1.2.3.4\"}\n"},
			[]string{"a.yaml:2:21: hosts[0].vtep: 224.0.0.1 cannot be a tunnel endpoint; " + vtepWant, "a.yaml:3:21: hosts[1].vtep: fe80::1 cannot be a tunnel endpoint; " + vtepWant, `a.yaml:4:21: hosts[2].vtep: "300.1.1.1"; ` + vtepWant, `a.yaml:5:21: hosts[3].vtep: "::ffff:1.2.3.4"; ` + vtepWant}},
		"bad name": {[]string{"hosts:\n  - {name: a/b, vtep: 192.0.2.1, foreign: yes}\n"},
			[]string{`a.yaml:2:12: hosts[0].name: "a/b"; ` + nameWant, `a.yaml:2:43: hosts[0].foreign: "yes"; want true or false`}},
		"no value":        {[]string{"hosts:\n  - {name: , vtep: 192.0.2.1}\n"}, []string{"a.yaml:2:12: hosts[0].name: no value; " + nameWant}},
		"environments":    {[]string{"environments:\n  - {name: e}\n  - {name: e}\n"}, []string{"a.yaml:3:12: environments[1].name: environment e is used already at a.yaml:2:12; want another one"}},
		"environment":     {[]string{"environments:\n  - {segments: []}\n"}, []string{"a.yaml:2:5: environments[0].name: missing; want a name"}},
		"segment without": {[]string{segment + "      - {mtu: auto}\n"}, []string{"a.yaml:7:9: environments[0].segments[0].name: missing; want a name", "a.yaml:7:9: environments[0].segments[0].vni: missing; want a vni"}},
		"vni range":       {[]string{segment + "      - {name: s, vni: 16777216}\n"}, []string{`a.yaml:7:24: environments[0].segments[0].vni: "16777216"; want a number from 1 to 16777215`}},
		"vni octal":       {[]string{segment + "      - {name: s, vni: 0x10}\n"}, []string{`a.yaml:7:24: environments[0].segments[0].vni: "0x10"; want a number from 1 to 16777215`}},
		"vni twice": {[]string{segment + "      - {name: s, vni: 7}\n  - {name: f, segments: [{name: s, vni: 7}]}\n"},
			[]string{"a.yaml:8:41: environments[1].segments[0].vni: VNI 7 is used already at a.yaml:7:24; want another one"}},
		"segment twice": {[]string{segment + "      - {name: s, vni: 7}\n      - {name: s, vni: 8}\n"},
			[]string{"a.yaml:8:16: environments[0].segments[1].name: segment s of this environment is used already at a.yaml:7:16; want another one"}},
		"mtu": {[]string{segment + "      - {name: s, vni: 7, mtu: 1279}\n      - {name: t, vni: 8, mtu: big}\n"},
			[]string{`a.yaml:7:32: environments[0].segments[0].mtu: "1279"; want a number from 1280 to 65465`, `a.yaml:8:32: environments[0].segments[1].mtu: "big"; want auto, or a number from 1280 to 65465`}},
		"unknown unicast": {[]string{segment + "      - {name: s, vni: 7, unknown_unicast: maybe, learning: 1}\n"},
			[]string{`a.yaml:7:44: environments[0].segments[0].unknown_unicast: "maybe"; want drop or flood`, `a.yaml:7:61: environments[0].segments[0].learning: "1"; want true or false`}},
		"member": {[]string{segment + "      - {name: s, vni: 7, members: [a, a, x]}\n"},
			[]string{"a.yaml:7:40: environments[0].segments[0].members[1]: host a is a member already; want each host once", `a.yaml:7:43: environments[0].segments[0].members[2]: there is no host "x"; want a host that is listed under hosts`}},
		"foreign": {[]string{"hosts:\n  - {name: t, vtep: 192.0.2.9, foreign: true}\nenvironments:\n  - {name: e, segments: [{name: s, vni: 7, members: [t]}]}\n"},
			[]string{"a.yaml:4:54: environments[0].segments[0].members[0]: host t is foreign, so its MACs must be learned; want learning: true in this segment"}},
		"families": {[]string{"hosts:\n  - {name: a, vtep: 192.0.2.9}\n  - {name: b, vtep: \"2001:db8::1\"}\nenvironments:\n  - {name: e, segments: [{name: s, vni: 7, members: [a, b]}]}\n"},
			[]string{"a.yaml:5:57: environments[0].segments[0].members[1]: host b has another address family than a; want VTEPs of one address family in a segment"}},
		"port without": {[]string{ports + "          - {mac: \"02:00:00:00:00:01\"}\n"},
			[]string{"a.yaml:10:13: environments[0].segments[0].ports[0].name: missing; want a name", "a.yaml:10:13: environments[0].segments[0].ports[0].host: missing; want a host", "a.yaml:10:13: environments[0].segments[0].ports[0].interface: missing; want an interface"}},
		"port without mac": {[]string{ports + "          - {name: p, host: a, interface: i}\n"},
			[]string{"a.yaml:10:13: environments[0].segments[0].ports[0]: port without mac in a segment that does not learn; want a mac, or learning: true in this segment"}},
		"macs": {[]string{ports + "          - {name: p, host: a, interface: i, mac: \"01:00:00:00:00:01\"}\n          - {name: q, host: a, interface: j, mac: 02:00:00:00:00}\n          - {name: r, host: a, interface: k, mac: \"00:00:00:00:00:00\"}\n"},
			[]string{"a.yaml:10:51: environments[0].segments[0].ports[0].mac: 01:00:00:00:00:01 is a group address; " + macWant, `a.yaml:11:51: environments[0].segments[0].ports[1].mac: "02:00:00:00:00" is not a MAC; ` + macWant, "a.yaml:12:51: environments[0].segments[0].ports[2].mac: 00:00:00:00:00:00 is nobody's; " + macWant}},
		"a MAC of agents": {[]string{ports + "          - {name: p, host: a, interface: i, mac: \"0a:6f:63:00:00:01\"}\n"},
			[]string{"a.yaml:10:51: environments[0].segments[0].ports[0].mac: 0a:6f:63:00:00:01 begins as the MACs do that agents keep for themselves (0a:6f:63); " + macWant}},
		"twice in a segment": {[]string{ports + "          - {name: p, host: a, interface: i, mac: \"02:00:00:00:00:01\", ips: [10.0.0.1]}\n          - {name: p, host: a, interface: i, mac: \"02:00:00:00:00:01\", ips: [10.0.0.1]}\n"},
			[]string{"a.yaml:11:20: environments[0].segments[0].ports[1].name: port p of this segment is used already at a.yaml:10:20; want another one", "a.yaml:11:43: environments[0].segments[0].ports[1].interface: interface i of host a is used already at a.yaml:10:43; want another one", "a.yaml:11:51: environments[0].segments[0].ports[1].mac: MAC 02:00:00:00:00:01 of this segment is used already at a.yaml:10:51; want another one", "a.yaml:11:78: environments[0].segments[0].ports[1].ips[0]: address 10.0.0.1 of this segment is used already at a.yaml:10:78; want another one"}},
		"interface": {[]string{ports + "          - {name: p, host: a, interface: much-too-long-name, mac: \"02:00:00:00:00:01\"}\n"},
			[]string{`a.yaml:10:43: environments[0].segments[0].ports[0].interface: "much-too-long-name"; want a device name: 1 to 15 bytes, without slash, colon or space`}},
		"any without learning": {[]string{ports + "          - {name: p, host: a, interface: i, mac: \"02:00:00:00:00:01\", extra_macs: any}\n"},
			[]string{"a.yaml:10:84: environments[0].segments[0].ports[0].extra_macs: any MAC behind a port of a segment that does not learn; want a list of MACs, or learning: true in this segment"}},
		"address": {[]string{ports + "          - {name: p, host: a, interface: i, mac: \"02:00:00:00:00:01\", ips: [10.0.0.1/24, ff02::1]}\n"},
			[]string{`a.yaml:10:78: environments[0].segments[0].ports[0].ips[0]: "10.0.0.1/24"; want a unicast address without a prefix length, like "2001:45::4"`, `a.yaml:10:91: environments[0].segments[0].ports[0].ips[1]: ff02::1 cannot be a guest's address; want a unicast address without a prefix length, like "2001:45::4"`}},
		"port of a foreign host": {[]string{"hosts:\n  - {name: t, vtep: 192.0.2.9, foreign: true}\nenvironments:\n  - {name: e, segments: [{name: s, vni: 7, ports: [{name: p, host: t, interface: i, mac: \"02:00:00:00:00:01\"}]}]}\n"},
			[]string{"a.yaml:4:68: environments[0].segments[0].ports[0].host: host t is foreign and has no ports of ours; want a host with the agent, or the host under members"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, c.docs...)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want problems", err)
			}
			if diff := cmp.Diff(c.want, strings.Split(problems.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadDocuments(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.yaml": "hosts: []\n", "a.yaml": "environments: []\n", "c.txt": "nonsense: [\n", ".d.yaml": "nonsense: [\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	docs, err := ReadDocuments(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Document{{Name: filepath.Join(dir, "a.yaml"), Data: []byte("environments: []\n")}, {Name: filepath.Join(dir, "b.yaml"), Data: []byte("hosts: []\n")}}
	if diff := cmp.Diff(want, docs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := ReadDocuments(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing path gave %v", err)
	}
}

func TestEmptyDocuments(t *testing.T) {
	if model, err := parse(t, "", "# nothing\n", "---\n"); err != nil || model.Tunnel != DefaultTunnel(VXLAN) {
		t.Errorf("got %+v, %v", model, err)
	}
}

// Each encapsulation has the port that IANA gave it, and the packets are as
// everybody's, unless something else is set.
func TestTunnel(t *testing.T) {
	for text, want := range map[string]func(*Tunnel){
		"{}":                                   func(*Tunnel) {},
		"{encapsulation: vxlan}":               func(*Tunnel) {},
		"{encapsulation: geneve}":              func(t *Tunnel) { *t = DefaultTunnel(Geneve) },
		"{encapsulation: geneve, port: 4789}":  func(t *Tunnel) { *t = DefaultTunnel(Geneve); t.Port = 4789 },
		"{port: 6081}":                         func(t *Tunnel) { t.Port = 6081 },
		"{dscp: 46}":                           func(t *Tunnel) { t.DSCP = 46 },
		"{dscp: copy, dscp_back: true}":        func(t *Tunnel) { t.DSCP, t.DSCPBack = CopyDSCP, true },
		"{checksum: true}":                     func(t *Tunnel) { t.Checksum = true },
		"{probe_interval: off}":                func(t *Tunnel) { t.ProbeInterval = 0 },
		"{probe_interval: 1s}":                 func(t *Tunnel) { t.ProbeInterval = time.Second },
		"{probe_interval: 5m}":                 func(t *Tunnel) { t.ProbeInterval = 5 * time.Minute },
		"{hop_limit: 255}":                     func(t *Tunnel) { t.HopLimit = 255 },
		"{source_ports: 40000-40015}":          func(t *Tunnel) { t.SourcePorts = Ports{40000, 40015} },
		"{source_ports: 65535-65535, dscp: 0}": func(t *Tunnel) { t.SourcePorts = Ports{65535, 65535} },
	} {
		tunnel := DefaultTunnel(VXLAN)
		want(&tunnel)
		if model, err := parse(t, "tunnel: "+text+"\n"); err != nil || model.Tunnel != tunnel {
			t.Errorf("%q gave %+v, %v; want %+v", text, model, err, tunnel)
		}
	}
	if n := DefaultTunnel(Geneve).SourcePorts.Count(); n != 16384 {
		t.Errorf("%d source ports", n)
	}
}

// What cannot be is told with what would be right.
func TestWrongTunnel(t *testing.T) {
	const ports = "; want two ports from 1024 to 65535 with a dash between them, the lower one first, like 49152-65535"
	for text, want := range map[string]string{
		"{encapsulation: gre}":       `encapsulation: "gre"; want vxlan or geneve`,
		"{dscp: 64}":                 `dscp: "64"; want copy, or a number from 0 to 63`,
		"{dscp: uniform}":            `dscp: "uniform"; want copy, or a number from 0 to 63`,
		"{dscp_back: copy}":          `dscp_back: "copy"; want true or false`,
		"{hop_limit: 0}":             `hop_limit: "0"; want a number from 1 to 255`,
		"{checksum: 1}":              `checksum: "1"; want true or false`,
		"{probe_interval: 0s}":       `probe_interval: "0s"; want off, or a duration from 1s to 5m, like 5s`,
		"{probe_interval: 6m}":       `probe_interval: "6m"; want off, or a duration from 1s to 5m, like 5s`,
		"{probe_interval: never}":    `probe_interval: "never"; want off, or a duration from 1s to 5m, like 5s`,
		"{hop_limit: 256}":           `hop_limit: "256"; want a number from 1 to 255`,
		"{source_ports: 49152}":      `source_ports: "49152"` + ports,
		"{source_ports: 2000-1999}":  `source_ports: "2000-1999"` + ports,
		"{source_ports: 1023-2000}":  `source_ports: "1023-2000"` + ports,
		"{source_ports: 1024-65536}": `source_ports: "1024-65536"` + ports,
		"{source_ports: a-b}":        `source_ports: "a-b"` + ports,
	} {
		_, err := parse(t, "tunnel: "+text+"\n")
		if err == nil || !strings.HasSuffix(err.Error(), ": tunnel."+want) {
			t.Errorf("%s gave %v, want %s", text, err, want)
		}
	}
}

func TestCompare(t *testing.T) {
	d := Compare(map[string]int{"same": 1, "changed": 1, "gone": 1}, map[string]int{"same": 1, "changed": 2, "new": 3})
	want := Difference[string, int]{Put: map[string]int{"changed": 2, "new": 3}, Delete: []string{"gone"}}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzParse looks for text that crashes the reader, for problems without a
// place, and for models that do not add up.
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(strings.ReplaceAll(good, "host-b", "host-c"))
	f.Add("hosts: [{name: a, vtep: ::}]\n")
	f.Add("a: &a [*a]\n")
	f.Add(settled)
	f.Add(strings.ReplaceAll(settled, "s,", ","))
	f.Add(strings.ReplaceAll(settled, "learning: false", "learning: true"))
	f.Fuzz(func(t *testing.T, text string) {
		model, err := Parse([]Document{{Name: "f", Data: []byte(text)}})
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("not problems: %v", err)
			}
			for _, p := range problems {
				if p.Line < 1 || p.Column < 1 || p.File != "f" || p.Message == "" {
					t.Fatalf("problem without a place: %+v", p)
				}
			}
			return
		}
		for _, h := range model.Hosts {
			checkState(t, model, h)
		}
	})
}

func checkState(t *testing.T, model *Model, h Host) {
	state, err := model.State(h.Name)
	if h.Foreign {
		if err == nil {
			t.Fatalf("foreign host %s has a state", h.Name)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	remotes := make(map[netip.Addr]bool)
	for _, r := range state.Remotes {
		remotes[r.VTEP] = true
	}
	for _, s := range state.Segments {
		if m := s.Multicast; m.QueryResponseInterval >= m.QueryInterval || m.Robustness == 0 || m.Groups == 0 {
			t.Fatalf("%s: multicast that cannot be: %+v", s.Object(), m)
		}
		if s.Relay.VNI == s.VNI || s.Relay.VNI != 0 && (s.Learning || s.Relay.Threshold == 0) {
			t.Fatalf("%s: a relay that cannot be: %+v", s.Object(), s)
		}
		ports := make(map[string]bool)
		for _, p := range s.Ports {
			ports[p.Name] = true
		}
		for _, e := range s.FDB {
			if local := e.Port != ""; local && !ports[e.Port] || !local && !remotes[e.VTEP] {
				t.Fatalf("%s: entry that leads nowhere: %+v", s.Object(), e)
			}
		}
		for _, n := range s.Neighbors {
			if !slices.Contains(s.FDB, Entry{MAC: n.MAC, Port: n.Port, VTEP: n.VTEP}) {
				t.Fatalf("%s: neighbour whose MAC is elsewhere: %+v", s.Object(), n)
			}
		}
	}
}
