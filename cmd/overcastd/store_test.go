// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"overcast/policy"
)

// patience is how long a test waits for what must come. It only ends a test
// that has failed.
const patience = 20 * time.Second

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// Every way in which people and programs replace documents is seen, also the
// second time.
func TestWatchStore(t *testing.T) {
	for name, c := range map[string]struct {
		store   string // below the test's folder
		prepare func(t *testing.T, dir string)
		change  func(t *testing.T, dir, text string)
		// The files are in a folder that is not watched: they are not written
		// in place, as with Kubernetes, or the agent's timer finds it.
		elsewhere bool
	}{
		"a file of the folder is written": {"store", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "store/a.yaml"), text)
		}, false},
		"a file of the folder is replaced": {"store", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "store/.new"), text)
			move(t, filepath.Join(dir, "store/.new"), filepath.Join(dir, "store/a.yaml"))
		}, false},
		"the file is written": {"store/a.yaml", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "store/a.yaml"), text)
		}, false},
		"the file is replaced": {"store/a.yaml", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "store/b"), text)
			move(t, filepath.Join(dir, "store/b"), filepath.Join(dir, "store/a.yaml"))
		}, false},
		"the folder is replaced": {"store", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "new/a.yaml"), text)
			move(t, filepath.Join(dir, "store"), filepath.Join(dir, "old-"+text))
			move(t, filepath.Join(dir, "new"), filepath.Join(dir, "store"))
		}, false},
		"the folder is a link that turns": {"link",
			func(t *testing.T, dir string) {
				if err := os.Symlink("store", filepath.Join(dir, "link")); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, dir, text string) {
				write(t, filepath.Join(dir, text, "a.yaml"), text)
				if err := os.Symlink(text, filepath.Join(dir, "link.new")); err != nil {
					t.Fatal(err)
				}
				move(t, filepath.Join(dir, "link.new"), filepath.Join(dir, "link"))
			}, false},
		"links below the folder turn": {"store",
			func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "store/..1/a.yaml"), "first")
				for link, to := range map[string]string{"..data": "..1", "a.yaml": "..data/a.yaml"} {
					_ = os.Remove(filepath.Join(dir, "store", link))
					if err := os.Symlink(to, filepath.Join(dir, "store", link)); err != nil {
						t.Fatal(err)
					}
				}
			},
			func(t *testing.T, dir, text string) {
				write(t, filepath.Join(dir, "store/.."+text+"/a.yaml"), text)
				if err := os.Symlink(".."+text, filepath.Join(dir, "store/..new")); err != nil {
					t.Fatal(err)
				}
				move(t, filepath.Join(dir, "store/..new"), filepath.Join(dir, "store/..data"))
			}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "store/a.yaml"), "first")
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			config := &Config{StorePath: filepath.Join(dir, c.store)}
			changed, err := config.watchStore(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			awaitText := func(want string) {
				t.Helper()
				for timeout := time.After(patience); ; {
					select {
					case <-changed:
					case <-timeout:
						t.Fatalf("nothing told of %q", want)
					}
					docs, err := config.documents()
					if err == nil && len(docs) == 1 && string(docs[0].Data) == want {
						return
					}
				}
			}
			c.change(t, dir, "second")
			awaitText("second")
			c.change(t, dir, "third")
			awaitText("third")
			if c.elsewhere {
				return
			}
			// And what has come about can be written to.
			write(t, filepath.Join(dir, c.store, strings.Repeat("a.yaml", 1-strings.Count(c.store, ".yaml"))), "fourth")
			awaitText("fourth")
		})
	}
}

// Of a *.yml beside the documents the log tells when it is there first and when
// it comes, and once each.
func TestWarnIgnored(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), "")
	write(t, filepath.Join(dir, "b.yaml"), "")
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	config := &Config{StorePath: dir}
	expect := func(before, want []string, told bool) []string {
		t.Helper()
		text.Reset()
		got := config.warnIgnored(before, log)
		if !slices.Equal(got, want) || (text.Len() > 0) != told {
			t.Errorf("got %q and %q, want %q, told: %t", got, text.String(), want, told)
		}
		return got
	}
	a, c := filepath.Join(dir, "a.yml"), filepath.Join(dir, "c.yml")
	seen := expect(nil, []string{a}, true)
	seen = expect(seen, []string{a}, false)
	write(t, c, "")
	seen = expect(seen, []string{a, c}, true)
	if err := errors.Join(os.Remove(a), os.Remove(c)); err != nil {
		t.Fatal(err)
	}
	expect(seen, nil, false)
	// And the watch begins with it.
	write(t, a, "")
	text.Reset()
	if _, err := config.watchStore(t.Context(), log); err != nil || !strings.Contains(text.String(), a) {
		t.Errorf("the log of the watch is %q, %v", text.String(), err)
	}
}

func TestWatchMissingStore(t *testing.T) {
	config := &Config{StorePath: filepath.Join(t.TempDir(), "missing")}
	if _, err := config.watchStore(t.Context(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), config.StorePath) {
		t.Errorf("got %v, want an error that names %s", err, config.StorePath)
	}
	text := "hosts: []\n"
	config.Document = &text
	if _, err := config.watchStore(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("the variable needs no store: %v", err)
	}
}

func TestDocumentsChanged(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "store/a.yaml")
	a := &agent{config: &Config{Host: "a", StorePath: filepath.Dir(file)}, log: slog.New(slog.DiscardHandler)}
	good := "hosts: [{name: a, vtep: 192.0.2.1}]\n"
	expect := func(what string, want bool) {
		t.Helper()
		if got := a.documentsChanged(); got != want {
			t.Errorf("%s: changed is %t, want %t", what, got, want)
		}
	}
	read := func(problem string) {
		t.Helper()
		state, err := a.readState()
		if problem == "" && (err != nil || state.Host.Name != "a") || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("got %+v, %v; want %q", state, err, problem)
		}
	}
	write(t, file, good)
	expect("never read", true)
	read("")
	expect("read", false)
	write(t, filepath.Join(dir, "store/notes.txt"), "none of ours")
	expect("another kind of file", false)
	write(t, file, good)
	expect("written as it was", false)
	write(t, file, "hosts: 3\n")
	expect("written anew", true)
	read(`environment documents:` + "\n" + file + `:1:8: hosts: "3"; want a list`)
	// It was told once.
	expect("wrong and read", false)
	write(t, filepath.Join(dir, "store/b.yaml"), "")
	expect("one more", true)
	write(t, file, good)
	read("")
	// The folder goes and comes back as it was: the error must not stay.
	move(t, filepath.Join(dir, "store"), filepath.Join(dir, "away"))
	expect("gone", true)
	read("no such file")
	expect("still gone", true)
	move(t, filepath.Join(dir, "away"), filepath.Join(dir, "store"))
	expect("back as it was", true)
	read("")
	expect("back and read", false)
}

func TestStateOfUnknownHost(t *testing.T) {
	text := "hosts: [{name: a, vtep: 192.0.2.1}]\n"
	a := &agent{config: &Config{Host: "b", Document: &text}}
	if _, err := a.readState(); err == nil || err.Error() != `host "b" is not among the configured hosts (a): add it, or set host` {
		t.Errorf("got %v", err)
	}
	text = "hosts: 3\n"
	_, err := a.readState()
	var want policy.Problems
	if err == nil || err.Error() != "environment documents:\nOVERCAST_DOCUMENT:1:8: hosts: \"3\"; want a list" {
		t.Errorf("got %v, want %T that name the variable", err, want)
	}
}
