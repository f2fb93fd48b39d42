// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"overcast/policy"
)

// configPlaces are the places of the settings in a configuration file, by key.
type configPlaces map[string]policy.Position

// placeSettings reads a configuration file's text for what it sets and where.
// It also returns the text with every value as it is written: viper would make
// 8 of the text 010, and true of yes. The error names every key that there is
// not and every value of another form.
func placeSettings(file string, text []byte) (configPlaces, []byte, error) {
	p := placer{file: file, places: make(configPlaces)}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	syntax := func(err error) error {
		return policy.Problems{policy.SyntaxProblem(policy.Document{Name: file, Data: text}, decoder, err)}
	}
	var root, more yaml.Node
	if err := decoder.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil, nil
		}
		return nil, nil, syntax(err)
	}
	if err := decoder.Decode(&more); err == nil {
		p.problem(max(more.Line, 1), max(more.Column, 1), "", "a second YAML document", "one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, nil, syntax(err)
	}
	if len(root.Content) > 0 && !isNull(root.Content[0]) {
		p.mapping(root.Content[0], "")
	}
	if len(p.problems) > 0 {
		return nil, nil, p.problems
	}
	quoteValues(&root)
	written, err := yaml.Marshal(&root)
	return p.places, written, err
}

// quoteValues makes texts of all values but those that are none.
func quoteValues(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && !isNull(node) {
		node.Tag, node.Style = "!!str", yaml.DoubleQuotedStyle
	}
	for _, child := range node.Content {
		quoteValues(child)
	}
}

// placer walks over the mappings of a configuration file.
type placer struct {
	file     string
	places   configPlaces
	problems policy.Problems
}

func (p *placer) problem(line, column int, key, message, want string) {
	p.problems = append(p.problems, policy.Problem{Position: policy.Position{File: p.file, Line: line, Column: column}, Key: key, Message: message, Want: want})
}

// keysBelow are the keys of a mapping: those of the file, or of a section of it.
func keysBelow(section string) []string {
	var keys []string
	for _, s := range settings {
		rest, ok := strings.CutPrefix(s.key, section)
		if name, _, _ := strings.Cut(rest, "."); ok && !slices.Contains(keys, name) {
			keys = append(keys, name)
		}
	}
	return keys
}

func (p *placer) mapping(node *yaml.Node, section string) {
	known := keysBelow(section)
	key := strings.TrimSuffix(section, ".")
	if node.Kind != yaml.MappingNode {
		p.problem(node.Line, node.Column, key, describe(node), "a mapping with "+strings.Join(known, ", "))
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		key := section + policy.KeyName(name.Value)
		if !slices.Contains(known, name.Value) {
			p.problem(name.Line, name.Column, key, fmt.Sprintf("unknown key %q", name.Value), "one of "+strings.Join(known, ", ")+policy.Hint(name.Value, known))
			continue
		}
		if first, twice := seen[name.Value]; twice {
			p.problem(name.Line, name.Column, key, fmt.Sprintf("key given twice, first at line %d", first), "it once")
			continue
		}
		seen[name.Value] = name.Line
		p.value(value, key)
	}
}

// value notes a setting's place, or goes down into a section. No value is the
// same as no key.
func (p *placer) value(node *yaml.Node, key string) {
	if isNull(node) {
		return
	}
	at := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if at < 0 {
		p.mapping(node, key+".")
		return
	}
	_, list := settings[at].initial.([]string)
	plain := node.Kind == yaml.ScalarNode
	if list && node.Kind == yaml.SequenceNode {
		plain = !slices.ContainsFunc(node.Content, func(item *yaml.Node) bool { return item.Kind != yaml.ScalarNode || isNull(item) })
	}
	if !plain {
		want := "one value"
		if list {
			want = "a list of names"
		}
		p.problem(node.Line, node.Column, key, describe(node), want)
		return
	}
	p.places[key] = policy.Position{File: p.file, Line: node.Line, Column: node.Column}
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}

func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return fmt.Sprintf("%q", node.Value)
}
