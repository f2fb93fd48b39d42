// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// proofs are the tests of a package, and the strings in it, among which the
// names of the rows of their tables are.
type proofs struct {
	tests, strings map[string]bool
}

// readProofs reads the Go files of a folder of test.
func readProofs(t *testing.T, folder string) proofs {
	t.Helper()
	p := proofs{make(map[string]bool), make(map[string]bool)}
	files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test") && strings.HasSuffix(name, "_test.go") {
					p.tests[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					p.strings[text] = true
				}
			}
			return true
		})
	}
	return p
}

// proof is how docs/frames.md names a test, and maybe a row of its table.
var proof = regexp.MustCompile(`^(e2e|prog)\.(Test\w+)(?:/(.+))?$`)

// Each row of docs/frames.md names the tests that show what it says, and they
// exist.
func TestFramesDocument(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "frames.md"))
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]proofs{"e2e": readProofs(t, "e2e"), "prog": readProofs(t, "prog")}
	rows := 0
	for _, line := range strings.Split(string(document), "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| frame |") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("a row has %d cells, should have 4: %s", len(cells), line)
			continue
		}
		frame, named := strings.TrimSpace(cells[0]), strings.Split(cells[3], "`")
		if len(named) < 3 {
			t.Errorf("no test shows what becomes of this: %s", frame)
		}
		for i := 1; i < len(named); i += 2 {
			parts := proof.FindStringSubmatch(named[i])
			switch {
			case parts == nil:
				t.Errorf("%s: %q is not the name of a test", frame, named[i])
			case !folders[parts[1]].tests[parts[2]]:
				t.Errorf("%s: test/%s has no %s", frame, parts[1], parts[2])
			case parts[3] != "" && !folders[parts[1]].strings[parts[3]]:
				t.Errorf("%s: nothing in test/%s is called %q", frame, parts[1], parts[3])
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d rows were found, should be 40 at least", rows)
	}
}
