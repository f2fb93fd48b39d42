// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"overcast/loader"
)

// machine is what the figures depend on beside the code.
type machine struct {
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	MemoryMiB  uint64 `json:"memory_mib"`
	Kernel     string `json:"kernel"`
	Congestion string `json:"congestion_control"`
	JIT        string `json:"bpf_jit"`
	Clock      string `json:"clock_source"`
	Mitigation string `json:"spectre_v2"` // indirect calls are what mitigations cost most
	Go         string `json:"go"`
	Overcast   string `json:"overcast"`
}

func describeMachine() machine {
	m := machine{
		CPU: "unknown", CPUs: runtime.NumCPU(), Go: runtime.Version(), Overcast: loader.Version(),
		Congestion: congestion,
		JIT:        firstLine("/proc/sys/net/core/bpf_jit_enable"),
		Clock:      firstLine("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
		Mitigation: firstLine("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMiB = uint64(info.Totalram) * uint64(info.Unit) >> 20
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// firstLine is a setting of the machine, or "unknown".
func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}
