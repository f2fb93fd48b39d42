// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// What is being applied comes first until it is, or is refused; what cannot be
// read does not hide the other.
func TestApplied(t *testing.T) {
	dir := t.TempDir()
	expect := func(when string, want ...string) {
		t.Helper()
		all, err := ReadApplied(dir)
		if len(want) == 0 && !errors.Is(err, fs.ErrNotExist) || len(want) > 0 && err != nil || len(all) != len(want) {
			t.Fatalf("%s: got %d, %v; want %d", when, len(all), err, len(want))
		}
		for i := range want {
			if all[i].Host != want[i] {
				t.Errorf("%s: %d is %s, want %s", when, i, all[i].Host, want[i])
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("at first")
	must(StageApplied(dir, &Applied{Host: "a"}))
	expect("killed while the first is applied", "a")
	must(CommitApplied(dir))
	expect("after the first", "a")
	must(StageApplied(dir, &Applied{Host: "b"}))
	expect("killed while the second is applied", "b", "a")
	must(DropApplied(dir))
	expect("after it was refused", "a")
	must(os.WriteFile(stagedPath(dir), []byte("{"), 0o600))
	expect("half a file", "a")
	must(WriteApplied(dir, &Applied{Host: "c"}))
	expect("after the third", "c")
	if !HasApplied(dir) {
		t.Error("nothing is kept")
	}
}
