// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEnsurePinPath(t *testing.T) {
	path := newPinPath(t)
	for range 2 { // it may be there
		if err := ensurePinPath(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(path, linksDir)); err != nil || !info.IsDir() {
		t.Errorf("no folder for links: %v", err)
	}
}

// A folder of another file system cannot hold pins, and nothing is made there.
func TestPinPathElsewhere(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "a/b")} {
		want := fmt.Sprintf("pin path %s is not in a BPF file system: choose a folder below /sys/fs/bpf, or mount one there", path)
		if err := ensurePinPath(path); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestIsBPFFS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := newPinPath(t)
	for path, want := range map[string]bool{path: true, filepath.Join(path, "a/b/c"): true, "/": false, file: false, t.TempDir(): false} {
		if got, err := isBPFFS(path); err != nil || got != want {
			t.Errorf("%s: got %t, %v; want %t", path, got, err, want)
		}
	}
	// A file in the way is not a place that may still be made.
	if _, err := isBPFFS(filepath.Join(file, "below")); err == nil {
		t.Error("a path below a file is fine")
	}
}

// Pins are removed by name: what is not ours stays, whatever the folder.
func TestRemovePins(t *testing.T) {
	path := newPinPath(t)
	if err := ensurePinPath(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(path, "theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removePins(path); err != nil {
		t.Errorf("a folder with another's pins: %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, "theirs")); err != nil {
		t.Errorf("another's folder is gone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, linksDir)); err == nil {
		t.Error("our folder of links is still there")
	}
	if err := os.Remove(filepath.Join(path, "theirs")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it may be gone
		if err := removePins(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the empty folder is still there")
	}
}

// Unload with a wrong path must not take a machine's files away.
func TestUnloadElsewhere(t *testing.T) {
	enterNamespace(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("pin path %s is not in a BPF file system, so there is no datapath: nothing was removed", dir)
	if err := Unload(dir, t.TempDir()); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
	// A folder that is not there holds nothing.
	if err := Unload(filepath.Join(dir, "missing"), t.TempDir()); err != nil {
		t.Error(err)
	}
}

// A file system that only our mount namespace has is told from the machine's.
func TestMachineSees(t *testing.T) {
	if !machineSees("/") || !machineSees("/missing") {
		t.Error("the root is said to be ours alone")
	}
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("bpf", dir, "bpf", 0, "")
		}
		if err != nil {
			t.Error(err)
		} else if machineSees(dir) {
			t.Error("a mount of a namespace of our own is said to be the machine's")
		}
	}()
	<-done
}
