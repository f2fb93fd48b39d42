// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"overcast/test/kernel/plan"
)

// Machine is a virtual machine to be booted.
type Machine struct {
	Image    Image
	Modules  []string          // by name; those they need come too
	Files    map[string]string // paths in the machine to files of this one
	Commands []plan.Command
	NIC      *NIC // nil: none
}

// NIC is a machine's virtio network card, with all its offloads.
type NIC struct {
	Tap string // a device of the namespace that qemu runs in
	MAC string
}

// Result is what one command of a machine did.
type Result struct {
	Command string
	Exit    string // "0", another number, or what kept it from running
	Output  string
}

// Run boots the machine, has it run its commands one after the other, and
// returns what they did and the whole console.
func (m *Machine) Run(ctx context.Context, dir string) (results []Result, console string, err error) {
	cmd, err := m.Command(ctx, dir)
	if err != nil {
		return nil, "", err
	}
	text, err := cmd.CombinedOutput()
	console = strings.ReplaceAll(string(text), "\r", "")
	if err != nil {
		return nil, console, fmt.Errorf("qemu: %w (%w)", err, ctx.Err())
	}
	return parse(console), console, nil
}

// Command is the qemu that boots the machine; it prints the console, and ends
// after the last of the machine's commands. dir is for scratch files. qemu runs
// without KVM, which is not to be had everywhere.
func (m *Machine) Command(ctx context.Context, dir string) (*exec.Cmd, error) {
	archive := filepath.Join(dir, "initramfs")
	if err := m.writeInitramfs(archive); err != nil {
		return nil, err
	}
	board := "microvm,acpi=off"
	var card []string
	if m.NIC != nil {
		// Debian's kernels find virtio's devices by PCI only. A microvm could have
		// that, but not the clocks to measure time by where others want the CPU.
		board = "q35"
		card = []string{"-netdev", "tap,id=nic,vhost=off,script=no,downscript=no,ifname=" + m.NIC.Tap,
			"-device", "virtio-net-pci,romfile=,netdev=nic,mac=" + m.NIC.MAC}
	}
	args := []string{
		"-machine", board, "-accel", "tcg,thread=single", "-cpu", "max,cx16=off", "-smp", "1", "-m", "2048",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", m.Image.Path(), "-initrd", archive,
		// The console is the machine's only way out; a panic ends it.
		"-append", "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable no_timer_check",
	}
	return exec.CommandContext(ctx, "qemu-system-x86_64", append(args, card...)...), nil
}

func (m *Machine) writeInitramfs(to string) error {
	modules, err := m.Image.Modules(m.Modules...)
	if err != nil {
		return err
	}
	file, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer file.Close()
	archive := newInitramfs(file)
	for _, dir := range []string{"/dev", "/proc", "/sys", "/tmp", "/run"} {
		archive.addDir(dir)
	}
	p := plan.Plan{Commands: m.Commands}
	for _, module := range modules {
		name := "/modules/" + filepath.Base(module)
		archive.copyFile(name, module)
		p.Modules = append(p.Modules, name)
	}
	for name, from := range m.Files {
		archive.copyFile(name, from)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	archive.addFile(plan.Path, text)
	return archive.close()
}

var marks = regexp.MustCompile(`(?s)` + regexp.QuoteMeta(plan.Begin) + `(\S+)\n(.*?)\n?` + regexp.QuoteMeta(plan.End) + `(\S+) ([^\n]*)\n`)

// parse finds on the console what each command did. One that has not ended is
// not among the results.
func parse(console string) []Result {
	var results []Result
	for _, m := range marks.FindAllStringSubmatch(console, -1) {
		if m[1] == m[3] {
			results = append(results, Result{Command: m[1], Exit: m[4], Output: m[2]})
		}
	}
	return results
}
