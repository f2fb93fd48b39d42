// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

// What is not YAML is told where it is: the line and column at which the text
// stopped to make sense, or the bracket or quote that was never closed.
func TestSyntax(t *testing.T) {
	const hosts = "hosts:\n  - {name: a, vtep: 192.0.2.1}\n"
	for name, c := range map[string]struct{ text, want string }{
		"a comma is missing":            {hosts + "  - {name: b vtep: 192.0.2.2}\n", "3:18: not YAML: did not find expected ',' or '}'"},
		"in the first line":             {"{a: b c: d}\n", "1:8: not YAML: did not find expected ',' or '}'"},
		"a list is not closed":          {hosts + "  - [name: b\n  - {name: c}\n", "3:5: not YAML: what begins here goes wrong at line 4: did not find expected ',' or ']'"},
		"a list is not closed, at all":  {hosts + "  - [b, c\n", "3:5: not YAML: what begins here goes wrong at line 4: did not find expected ',' or ']'"},
		"a mapping is not closed":       {hosts + "  - {name: c}\nenvironments:\n  - name: e\n    segments:\n      - name: s\n        ports:\n          - {name: p, host: a\n          - {name: q, host: b}\n", "9:13: not YAML: what begins here goes wrong at line 10: did not find expected ',' or '}'"},
		"a quote is not closed":         {"hosts:\n  - name: \"a\n    vtep: x\n", "2:11: not YAML: what begins here goes wrong at line 4: found unexpected end of stream"},
		"indented by too little":        {"hosts:\n  - name: a\n    vtep: x\n   zone: z\n", "4:4: not YAML: did not find expected '-' indicator in what begins at line 2"},
		"indented by too much":          {"hosts: a\n  b: [\n", "2:4: not YAML: mapping values are not allowed in this context"},
		"a tab":                         {"hosts:\n  - name: a\n    vtep: x\n\tzone: z\n", "4:1: not YAML: found a tab character that violates indentation in what begins at line 3"},
		"a tab alone":                   {hosts + "x:\n\t- b\n", "4:1: not YAML: found character that cannot start any token"},
		"a letter that is kept":         {"a: b\nc: @d\n", "2:4: not YAML: found character that cannot start any token"},
		"a control character":           {"a: b\nä: d\x1b\n", "2:5: not YAML: control characters are not allowed"},
		"an alias of nothing":           {"a:\n  b: *x\n", "2:6: not YAML: unknown anchor 'x' referenced"},
		"in a second document":          {"hosts: []\n---\n- b\n- [\n", "4:3: not YAML: what begins here goes wrong at line 5: did not find expected node content"},
		"text behind a document's end":  {"hosts: []\n...\nb: [\n", "3:1: not YAML: did not find expected <document start>"},
		"an escape that there is not":   {"a: \"\\q\"\n", "1:5: not YAML: found unknown escape character"},
		"a directive that there is not": {"a: b\n%x\n", "2:3: not YAML: found unknown directive name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, c.text)
			if want := "a.yaml:" + c.want + "; want a YAML document"; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}
