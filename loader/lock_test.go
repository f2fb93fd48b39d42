// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "overcast") // made by whoever locks it
	expect := func(want bool) {
		t.Helper()
		if got, err := IsLocked(dir); err != nil || got != want {
			t.Errorf("locked is %t, %v; want %t", got, err, want)
		}
	}
	expect(false)
	first, err := AcquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	expect(true)
	expect(true) // asking takes nothing
	second, err := AcquireLock(dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), filepath.Join(dir, "overcastd.lock")) || !strings.Contains(err.Error(), "an overcastd is running here") {
		t.Errorf("a second lock gave %v, %v; want an error that names the file", second, err)
	}
	expect(true) // nor does trying
	other, err := AcquireLock(t.TempDir())
	if err != nil {
		t.Fatalf("another run folder: %v", err)
	}
	other.Release()
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

func TestLockWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireLock(file); err == nil || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}
