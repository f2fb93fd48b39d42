// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadOneDocument(t *testing.T) {
	// A file that is named is read whatever its ending.
	path := filepath.Join(t.TempDir(), "document.txt")
	if err := os.WriteFile(path, []byte("hosts: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	docs, err := ReadDocuments(path)
	if err != nil || len(docs) != 1 || !docs[0].Equal(Document{Name: path, Data: []byte("hosts: []\n")}) {
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
	// One that cannot be read is named, and hides nothing of the others.
	broken, good := filepath.Join(dir, "broken.yaml"), filepath.Join(dir, "good.yaml")
	if err := errors.Join(os.Symlink("nowhere", broken), os.WriteFile(good, []byte("hosts: 3\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	docs, err := ReadDocuments(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse(docs)
	want := broken + ": cannot be read: no such file or directory; want a file that can be read\n" + good + `:1:8: hosts: "3"; want a list`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// What has no end, or none to write to it, is refused and not waited for.
func TestReadOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name+".yaml") }
	socket, err := net.Listen("unix", path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := errors.Join(
		syscall.Mkfifo(path("fifo"), 0o600),
		os.Symlink(path("fifo"), path("link")),
		os.Symlink("/dev/zero", path("zero")),
		os.Symlink(dir, path("folder")),
		os.WriteFile(path("large"), nil, 0o600), os.Truncate(path("large"), maxDocument+1),
		os.WriteFile(path("most"), nil, 0o600), os.Truncate(path("most"), maxDocument),
	); err != nil {
		t.Fatal(err)
	}
	done := make(chan []Document)
	go func() {
		docs, err := ReadDocuments(dir)
		if err != nil {
			t.Error(err)
		}
		// The same when it is named.
		named, err := ReadDocuments(path("fifo"))
		if err != nil {
			t.Error(err)
		}
		done <- append(docs, named...)
	}()
	var docs []Document
	select {
	case docs = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits")
	}
	got := make(map[string]string)
	for _, doc := range docs {
		got[strings.TrimSuffix(filepath.Base(doc.Name), ".yaml")] = fmt.Sprint(doc.Err)
	}
	const large = "larger than the 64 MiB that a document may have"
	if diff := cmp.Diff(map[string]string{
		"fifo": "a FIFO and not a regular file", "link": "a FIFO and not a regular file", "zero": "a device and not a regular file",
		"socket": "a socket and not a regular file", "folder": "a folder and not a regular file", "large": large, "most": "<nil>",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// It tells its size as 0, and has more.
	if data, err := readRegular("/proc/self/status"); err != nil || len(data) == 0 {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
}

func TestIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yml", ".c.yml", "d.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "b.yml")}, Ignored(dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// One that is named is read.
	if got := Ignored(filepath.Join(dir, "b.yml")); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestDocumentEqual(t *testing.T) {
	d := Document{Name: "a", Data: []byte("x")}
	for _, c := range []struct {
		other Document
		want  bool
	}{
		{Document{Name: "a", Data: []byte("x")}, true}, {Document{Name: "b", Data: []byte("x")}, false},
		{Document{Name: "a", Data: []byte("y")}, false}, {Document{Name: "a"}, false},
		{Document{Name: "a", Data: []byte("x"), Err: fs.ErrNotExist}, false},
	} {
		if got := d.Equal(c.other); got != c.want {
			t.Errorf("%v: %t", c.other, got)
		}
	}
}
