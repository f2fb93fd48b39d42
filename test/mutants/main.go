// SPDX-License-Identifier: Apache-2.0

// Mutants breaks the code in listed ways, one at a time, and shows that a test
// fails for each: a test that nothing can fail proves nothing. It works on a
// copy of the project.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "only the mutants whose names match this expression")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "overcast-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyProject(dir); err != nil {
		return err
	}
	project := project{dir}
	survivors := 0
	for _, m := range mutants {
		if !wanted.MatchString(m.name) {
			continue
		}
		start := time.Now()
		verdict, err := project.judge(m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if verdict != "killed" {
			survivors++
		}
		fmt.Printf("%-9s %-28s %-32s %s %s (%s)\n", verdict, m.file, m.name, m.pkg, m.test, time.Since(start).Round(time.Second))
	}
	if survivors > 0 {
		return fmt.Errorf("%d mutants live: the tests do not see what was broken", survivors)
	}
	fmt.Println("every mutant was killed")
	return nil
}

// copyProject copies the project, less what is built and git's own.
func copyProject(to string) error {
	return filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == ".git" || path == "build" || path == "bin" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), data, 0o644)
	})
}

// project is a copy that may be broken.
type project struct{ dir string }

// judge breaks the project, runs the test and mends the project again.
func (p project) judge(m mutant) (verdict string, err error) {
	if out, err := p.test(m); err != nil {
		return "", fmt.Errorf("the test fails already, unbroken: %w\n%s", err, out)
	}
	saved := make(map[string][]byte)
	for _, name := range []string{m.file, "bpf/overcast_bpfel.o", "bpf/overcast_bpfel.go"} {
		if saved[name], err = os.ReadFile(filepath.Join(p.dir, name)); err != nil {
			return "", err
		}
	}
	defer func() {
		for name, data := range saved {
			err = errors.Join(err, os.WriteFile(filepath.Join(p.dir, name), data, 0o644))
		}
	}()
	source := saved[m.file]
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("%s holds what is to be broken %d times, not once:\n%s", m.file, n, m.old)
	}
	broken := bytes.Replace(source, []byte(m.old), []byte(m.new), 1)
	if err := os.WriteFile(filepath.Join(p.dir, m.file), broken, 0o644); err != nil {
		return "", err
	}
	if strings.HasPrefix(m.file, "bpf/") {
		if out, err := p.goCommand("generate", "./bpf"); err != nil {
			return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
		}
	}
	if out, err := p.goCommand("vet", m.pkg); err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	if _, err := p.test(m); err == nil {
		return "ALIVE", nil
	}
	return "killed", nil
}

func (p project) test(m mutant) (string, error) {
	return p.goCommand("test", "-count=1", "-timeout=5m", m.pkg, "-run", m.test)
}

func (p project) goCommand(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
