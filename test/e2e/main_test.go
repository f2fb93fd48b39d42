// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the overlay as its users have it: real agents on hosts in
// namespaces, real network stacks as guests, a cloud that carries only unicast
// IP between them.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The programs under test, built once.
var overcastd, overcast string

func TestMain(m *testing.M) {
	// Parallel are the tests of multicast, which mostly wait for the timers of its
	// protocols. A flag still wins: flags are not parsed yet.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "overcast-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	overcastd, overcast = filepath.Join(dir, "overcastd"), filepath.Join(dir, "overcast")
	code := 1
	// A prebuilt pair serves where there is no Go, as in a virtual machine.
	if built := os.Getenv("OVERCAST_TEST_BIN"); built != "" {
		overcastd, overcast = filepath.Join(built, "overcastd"), filepath.Join(built, "overcast")
		code = m.Run()
	} else if out, err := exec.Command("go", "build", "-o", dir+"/", "overcast/cmd/...").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}
