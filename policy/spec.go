// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// value is a YAML node, its place and its key's path.
type value struct {
	node *yaml.Node
	file string
	key  string
}

func (v value) position() Position {
	return Position{v.file, max(v.node.Line, 1), max(v.node.Column, 1)}
}

// reader turns text into values and collects what is wrong with them.
type reader struct {
	problems Problems
}

func (r *reader) problem(v value, want, format string, args ...any) {
	r.problems = append(r.problems, Problem{v.position(), v.key, fmt.Sprintf(format, args...), want})
}

// open parses a document's text. An empty document is fine and gives false.
func (r *reader) open(doc Document) (value, bool) {
	if doc.Err != nil {
		r.problems = append(r.problems, Problem{Position{File: doc.Name}, "", unreadable(doc.Err), "a file that can be read"})
		return value{}, false
	}
	at := Position{doc.Name, 1, 1}
	if !utf8.Valid(doc.Data) {
		at.Line, at.Column = placeOf(doc.Data, invalidUTF8(doc.Data))
		r.problems = append(r.problems, Problem{at, "", "not UTF-8 text", "a YAML document in UTF-8"})
		return value{}, false
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(doc.Data)))
	var root yaml.Node
	if err := decoder.Decode(&root); err != nil {
		if !errors.Is(err, io.EOF) {
			r.problems = append(r.problems, SyntaxProblem(doc, decoder, err))
		}
		return value{}, false
	}
	if len(root.Content) == 0 {
		return value{}, false
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		r.problem(value{&more, doc.Name, ""}, "one document per file", "a second YAML document")
	} else if !errors.Is(err, io.EOF) {
		r.problems = append(r.problems, SyntaxProblem(doc, decoder, err))
	}
	v := value{root.Content[0], doc.Name, ""}
	if v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!null" {
		return value{}, false
	}
	return v, r.plain(v)
}

// unreadable is the cause alone: the place names the file.
func unreadable(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return "cannot be read: " + err.Error()
}

// plain refuses anchors, aliases and merge keys anywhere below a value: a
// position would no longer name one place, and a few lines could grow without
// bound.
func (r *reader) plain(v value) bool {
	if v.node.Kind == yaml.AliasNode || v.node.Anchor != "" {
		r.problem(v, "every value written out", "anchors and aliases are not read")
		return false
	}
	ok := true
	for _, child := range v.node.Content {
		ok = r.plain(value{child, v.file, v.key}) && ok
	}
	return ok
}

// invalidUTF8 is the offset of the first byte that is no text.
func invalidUTF8(data []byte) int {
	for offset := 0; ; {
		r, size := utf8.DecodeRune(data[offset:])
		if r == utf8.RuneError && size <= 1 {
			return offset
		}
		offset += size
	}
}

// fields reads a mapping strictly. It returns the values by key.
func (r *reader) fields(v value, known ...string) map[string]value {
	fields := make(map[string]value)
	if v.node.Kind != yaml.MappingNode {
		r.problem(v, "a mapping with "+strings.Join(known, ", "), "%s", describe(v.node))
		return nil
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		name := v.node.Content[i]
		path := KeyName(name.Value)
		if v.key != "" {
			path = v.key + "." + path
		}
		key := value{name, v.file, path}
		if !slices.Contains(known, name.Value) {
			r.problem(key, "one of "+strings.Join(known, ", ")+Hint(name.Value, known), "unknown key %q", name.Value)
			continue
		}
		if first, twice := fields[name.Value]; twice {
			r.problem(key, "it once", "key given twice, first at line %d", first.node.Line)
			continue
		}
		fields[name.Value] = value{v.node.Content[i+1], v.file, path}
	}
	return fields
}

// KeyName is a key as a path of keys shows it. One that could do something to
// a terminal, or that could not be told from its surroundings, is quoted.
func KeyName(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) || r == ' ' }) {
		return strconv.Quote(name)
	}
	return name
}

// Hint proposes the known key that a wrong one is a letter or two away from.
func Hint(name string, known []string) string {
	for _, k := range known {
		if distance(name, k) <= 2 || strings.EqualFold(name, k) {
			return fmt.Sprintf(" (did you mean %s?)", k)
		}
	}
	return ""
}

// distance is Levenshtein's, bounded: 3 stands for anything more than 2.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// need reports a key that is missing from a mapping.
func (r *reader) need(parent value, fields map[string]value, names ...string) {
	for _, name := range names {
		if _, ok := fields[name]; !ok {
			missing := value{parent.node, parent.file, strings.TrimPrefix(parent.key+"."+name, ".")}
			article := "a "
			if strings.ContainsRune("aeio", rune(name[0])) {
				article = "an "
			}
			r.problem(missing, article+name, "missing")
		}
	}
}

// items reads a list.
func (r *reader) items(v value) []value {
	if v.node == nil {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		r.problem(v, "a list", "%s", describe(v.node))
		return nil
	}
	items := make([]value, len(v.node.Content))
	for i, node := range v.node.Content {
		items[i] = value{node, v.file, fmt.Sprintf("%s[%d]", v.key, i)}
	}
	return items
}

// text reads a scalar as it is written, so that YAML's own ideas of what a MAC
// or an address might be never come in.
func (r *reader) text(v value, want string) (string, bool) {
	if v.node == nil {
		return "", false
	}
	if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" {
		r.problem(v, want, "%s", describe(v.node))
		return "", false
	}
	return v.node.Value, true
}

func (r *reader) boolean(v value) bool {
	const want = "true or false"
	s, ok := r.text(v, want)
	if !ok {
		return false
	}
	if s != "true" && s != "false" {
		r.problem(v, want, "%q", s)
	}
	return s == "true"
}

func (r *reader) number(v value, least, most int) (int, bool) {
	n, ok := r.numberFor(v, int64(least), int64(most), fmt.Sprintf("a number from %d to %d", least, most))
	return int(n), ok
}

// numberFor reads a number where its bounds alone would not tell enough.
func (r *reader) numberFor(v value, least, most int64, want string) (int64, bool) {
	s, ok := r.text(v, want)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most || strconv.FormatInt(n, 10) != s {
		r.problem(v, want, "%q", s)
		return 0, false
	}
	return n, true
}

// duration reads a time with its unit, as time.ParseDuration has it.
func (r *reader) duration(v value, least, most time.Duration) (time.Duration, bool) {
	return r.durationFor(v, least, most, fmt.Sprintf("a duration from %s to %s, like 10s", least, most))
}

// durationFor reads a time where its bounds alone would not tell enough.
func (r *reader) durationFor(v value, least, most time.Duration, want string) (time.Duration, bool) {
	s, ok := r.text(v, want)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > most {
		r.problem(v, want, "%q", s)
		return 0, false
	}
	return d, true
}

// setBoolean, setNumber and setDuration leave what is there where a key is not
// given.
func (r *reader) setBoolean(to *bool, v value) {
	if v.node != nil {
		*to = r.boolean(v)
	}
}

func (r *reader) setNumber(to *int, v value, least, most int) {
	if n, ok := r.number(v, least, most); ok {
		*to = n
	}
}

func (r *reader) setDuration(to *time.Duration, v value, least, most time.Duration) {
	if d, ok := r.duration(v, least, most); ok {
		*to = d
	}
}

// choice reads one of a few words and returns its index.
func (r *reader) choice(v value, words ...string) int {
	want := strings.Join(words, " or ")
	s, ok := r.text(v, want)
	if !ok {
		return 0
	}
	i := slices.Index(words, s)
	if i < 0 {
		r.problem(v, want, "%q", s)
		return 0
	}
	return i
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "no value"
	}
	return fmt.Sprintf("%q", n.Value)
}
