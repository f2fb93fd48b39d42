// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadOneDocument(t *testing.T) {
	// A file that is named is read whatever its ending.
	path := filepath.Join(t.TempDir(), "document.txt")
	if err := os.WriteFile(path, []byte("hosts: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	docs, err := ReadDocuments(path)
	if err != nil || len(docs) != 1 || !docs[0].Equal(Document{path, []byte("hosts: []\n")}) {
		t.Errorf("got %v, %v", docs, err)
	}
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	if docs, err := ReadDocuments(dir); err != nil || len(docs) != 0 {
		t.Errorf("an empty folder gave %v, %v", docs, err)
	}
	// A folder is no document, whatever its name.
	if err := os.Mkdir(filepath.Join(dir, "old.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if docs, err := ReadDocuments(dir); err != nil || len(docs) != 0 {
		t.Errorf("a folder in it gave %v, %v", docs, err)
	}
	// One that cannot be read is named: half of the documents is not all.
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.Symlink("nowhere", broken); err != nil {
		t.Fatal(err)
	}
	if docs, err := ReadDocuments(dir); docs != nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), broken) {
		t.Errorf("a broken link gave %v, %v; want an error that names it", docs, err)
	}
}

func TestDocumentEqual(t *testing.T) {
	d := Document{"a", []byte("x")}
	for _, c := range []struct {
		other Document
		want  bool
	}{{Document{"a", []byte("x")}, true}, {Document{"b", []byte("x")}, false}, {Document{"a", []byte("y")}, false}, {Document{"a", nil}, false}} {
		if got := d.Equal(c.other); got != c.want {
			t.Errorf("%v: %t", c.other, got)
		}
	}
}
