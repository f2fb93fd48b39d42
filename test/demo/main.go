// SPDX-License-Identifier: Apache-2.0

// Demo shows the overlay at work: two hosts on an underlay that carries only
// unicast IPv4, a guest on each, and a page that one fetches from the other
// over IPv6, with every frame of it at both guests and between the hosts. Then a broadcast and a
// multicast ping that every guest of the segment answers.
//
// It needs root, and leaves nothing behind but the capture file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"overcast/test/lab"
)

func main() {
	bin := flag.String("bin", "bin", "folder of overcastd and overcast")
	out := flag.String("out", "build/demo.pcapng", "capture file to write")
	shell := flag.Bool("shell", false, "leave the lab up, and tell how to look around, until interrupted")
	flag.Parse()
	// Whoever reads us may stop reading; what we made goes all the same.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *out, *shell); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, out string, shell bool) (err error) {
	s, err := newStage(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if shell {
		return s.shell(ctx)
	}
	if err := s.page(out); err != nil {
		return err
	}
	if err := s.inside(ctx); err != nil {
		return err
	}
	if err := s.everybody(ctx); err != nil {
		return err
	}
	return s.verdict(out)
}

// title prints a heading, bold on a terminal.
func title(format string, args ...any) {
	fmt.Print(heading(isTerminal(os.Stdout), fmt.Sprintf(format, args...)))
}

func heading(bold bool, text string) string {
	if bold {
		text = "\x1b[1m== " + text + "\x1b[0m"
	} else {
		text = "== " + text
	}
	return "\n" + text + "\n"
}

func isTerminal(file *os.File) bool {
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// verdict says what the cloud saw.
func (s *stage) verdict(out string) error {
	title("What the underlay saw")
	passed, err := s.Count(lab.Passed)
	if err != nil {
		return err
	}
	resolved, err := s.Count(lab.Resolved)
	if err != nil {
		return err
	}
	fmt.Printf("%d unicast IPv4 packets between the hosts, and %d ARP packets of their own\n", passed, resolved)
	counts, err := s.Forbidden()
	if err != nil {
		return err
	}
	if len(counts) > 0 {
		return fmt.Errorf("frames that no cloud carries crossed the underlay: %v", counts)
	}
	fmt.Println("no broadcast, no multicast, no IPv6, no bare frame of a guest")
	absolute, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	fmt.Printf("\nThe capture is in %s (wireshark reads it).\n", absolute)
	return nil
}

// settle waits until captured frames have been read.
func settle() {
	time.Sleep(200 * time.Millisecond)
}
