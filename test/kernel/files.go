// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Build makes a static program out of a package, or of its tests.
func Build(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", append(args[:len(args)-1:len(args)-1], "-o", path, args[len(args)-1])...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}

var library = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// WithLibraries are a program of this machine and the libraries that it needs,
// under the same paths but for the program itself, which goes to /bin.
func WithLibraries(t testing.TB, name string) map[string]string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/bin/" + name: path}
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ldd %s: %v\n%s", path, err, out)
	}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		files[m[1]] = m[1]
	}
	return files
}
