//go:build linux

// SPDX-License-Identifier: Apache-2.0

// Init is the first and only program of a virtual machine: it mounts what
// programs expect, loads modules, runs the commands of its plan and ends the
// machine.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"overcast/test/kernel/plan"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	// With qemu's -no-reboot this is its end, also without ACPI.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	for _, m := range []struct{ source, target, kind string }{
		{"proc", "/proc", "proc"},
		{"sysfs", "/sys", "sysfs"},
		{"bpf", "/sys/fs/bpf", "bpf"},
		{"devtmpfs", "/dev", "devtmpfs"},
		{"tmpfs", "/tmp", "tmpfs"},
		{"tmpfs", "/run", "tmpfs"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("%s: %w", plan.Path, err)
	}
	for _, module := range p.Modules {
		if err := load(module); err != nil {
			return err
		}
	}
	for _, c := range p.Commands {
		fmt.Printf("%s%s\n", plan.Begin, c.Name)
		fmt.Printf("%s%s %s\n", plan.End, c.Name, execute(c))
	}
	return nil
}

func load(module string) error {
	file, err := os.Open(module)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading %s: %w", module, err)
	}
	return nil
}

// execute runs a command and tells its exit code, or why it has none.
func execute(c plan.Command) string {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = append([]string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp"}, c.Env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err := cmd.Run()
	if cmd.ProcessState != nil {
		return fmt.Sprint(cmd.ProcessState.ExitCode())
	}
	return err.Error()
}
