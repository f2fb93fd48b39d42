// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

func TestLock(t *testing.T) {
	enterNamespace(t)
	dir := filepath.Join(t.TempDir(), "run", "overcast") // made by whoever locks it
	expect := func(want bool) {
		t.Helper()
		pid, alive, err := Holder(dir)
		if err != nil || alive != want || alive != (pid == os.Getpid()) {
			t.Errorf("alive is %t, the holder %d, %v; want %t and %d", alive, pid, err, want, os.Getpid())
		}
	}
	expect(false)
	// An earlier version's file is for everybody, and could be locked by them.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lockPath(dir), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	first, err := AcquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(lockPath(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	expect(true)
	expect(true) // asking takes nothing
	second, err := AcquireLock(dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), filepath.Join(dir, "overcastd.lock")) || !strings.Contains(err.Error(), "an overcastd is running here") {
		t.Errorf("a second lock gave %v, %v; want an error that names the file", second, err)
	}
	expect(true) // nor does trying
	// Another run folder is no way to a second agent on the same devices.
	holder := fmt.Sprintf("@overcast/overcastd, held by process %d (", os.Getpid())
	if _, err := AcquireLock(t.TempDir()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), holder) {
		t.Errorf("another run folder: %v", err)
	}
	elsewhere(t, func() {
		other, err := AcquireLock(t.TempDir())
		if err != nil {
			t.Errorf("another run folder in another network namespace: %v", err)
			return
		}
		other.Release()
	})
	first.Release()
	expect(false)
	if _, err := os.Stat(filepath.Join(dir, "overcastd.lock")); err != nil {
		t.Errorf("the file went with the lock, so two could hold one each: %v", err)
	}
	again, err := AcquireLock(dir)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	again.Release()
}

// elsewhere runs a function in a network namespace of its own.
func elsewhere(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		inside, err := netns.New()
		if err != nil {
			t.Error(err)
			return
		}
		defer inside.Close()
		f()
	}()
	<-done
}

// Other network namespaces may see the same pins, so their folder has a lock
// of its own, which also a folder that is made anew gets.
func TestLockOfPins(t *testing.T) {
	enterNamespace(t)
	path := newPinPath(t)
	first, err := AcquireLock(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	if err := first.HoldPins(path); err != nil {
		t.Errorf("no folder: %v", err)
	}
	for range 2 {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := first.HoldPins(path); err != nil {
				t.Fatal(err)
			}
		}
		elsewhere(t, func() {
			second, err := AcquireLock(t.TempDir())
			if err != nil {
				t.Error(err)
				return
			}
			defer second.Release()
			if err := second.HoldPins(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
				t.Errorf("the pins of another agent: %v", err)
			}
		})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A lock whose file somebody has removed is taken again, so that it shows.
func TestRenewLock(t *testing.T) {
	enterNamespace(t)
	dir := filepath.Join(t.TempDir(), "run")
	lock, err := AcquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := lock.Renew(dir); err != nil {
			t.Fatal(err)
		}
		if _, alive, err := Holder(dir); err != nil || !alive {
			t.Errorf("alive is %t, %v", alive, err)
		}
	}
}

func TestLockWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireLock(file); err == nil || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}
