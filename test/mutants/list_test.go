// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Every mutant still fits the code: what it breaks stands there once. Whether a
// test sees it is what `make mutants` shows, which takes longer.
func TestMutantsFit(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two mutants are called %q", m.name)
		}
		names[m.name] = true
		source, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := bytes.Count(source, []byte(m.old)); n != 1 {
			t.Errorf("%s: %s holds what is to be broken %d times, not once:\n%s", m.name, m.file, n, m.old)
		}
		if m.old == m.new {
			t.Errorf("%s breaks nothing", m.name)
		}
	}
	if len(mutants) < 20 {
		t.Errorf("%d mutants are too few", len(mutants))
	}
}
