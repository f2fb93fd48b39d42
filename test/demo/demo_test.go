// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

// frame is a frame of a guest, seen at a time and place; on the underlay it
// would have outer headers, which do not matter here.
func frame(from string, millisecond int, place, what string) lab.Frame {
	mac, _ := net.ParseMAC(from)
	data := bytes.Join([][]byte{{2, 0, 0, 0, 0, 0xff}, mac, {0x88, 0xb5}, []byte(what)}, nil)
	return lab.Frame{Time: time.UnixMilli(int64(millisecond)), Place: place, Data: data}
}

// Frames of the same time are in the order of their way, whichever way that is.
func TestOrderOfFrames(t *testing.T) {
	const client, web = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	mac, _ := net.ParseMAC(client)
	var got []string
	for _, s := range sights([]lab.Frame{
		frame(client, 1, "client", "ask"), frame(web, 3, "client", "answer"),
		frame(web, 3, "underlay", "answer"), frame(client, 2, "underlay", "ask"),
		frame(web, 3, "web", "answer"), frame(client, 2, "web", "ask"),
	}, mac) {
		got = append(got, s.Place+" "+string(s.Data[14:]))
	}
	want := []string{"client ask", "underlay ask", "web ask", "web answer", "underlay answer", "client answer"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHeading(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	if got := heading(isTerminal(write), "x"); got != "\n== x\n" {
		t.Errorf("into a pipe: %q", got)
	}
	if got := heading(true, "x"); got != "\n\x1b[1m== x\x1b[0m\n" {
		t.Errorf("on a terminal: %q", got)
	}
}

// What make demo-shell prints can be pasted, and Ctrl-C is a good end of it.
func TestShell(t *testing.T) {
	for _, program := range []string{"make", "curl", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "demo-shell")
	// A group of its own, as a terminal gives to what it starts and interrupts.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	recipe := regexp.MustCompile(`^(the page of web|a ping to web|  its state): +(.*)`)
	var all strings.Builder
	tried, logs := 0, 0
	for lines := bufio.NewScanner(read); lines.Scan(); {
		line := lines.Text()
		all.WriteString(line + "\n")
		if m := recipe.FindStringSubmatch(line); m != nil {
			tried++
			out, err := exec.CommandContext(t.Context(), "sh", "-c", m[2]).CombinedOutput()
			if err != nil || m[1] == "the page of web" && !strings.Contains(string(out), hello) {
				t.Errorf("%s: %v: %s", m[2], err, out)
			}
		}
		if strings.HasPrefix(line, "  its log:") {
			if logs++; logs == 2 {
				if err := unix.Kill(-cmd.Process.Pid, unix.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_ = cmd.Wait() // make ends by the signal
	if tried != 4 || strings.Contains(all.String(), "***") || strings.Contains(all.String(), "\x1b") {
		t.Errorf("%d recipes of 4 in\n%s", tried, all.String())
	}
}
