// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	yaml "go.yaml.in/yaml/v3"
)

// schema is the version of the JSON forms. They are a contract: a field may be
// added, none changes its meaning.
const schema = 1

// column is one column of a table: what stands over it and in it.
type column[T any] struct {
	name string
	wide bool // only with -o wide
	cell func(T) string
}

// tabular tells whether people read the output, and not programs.
func (o *options) tabular() bool {
	return o.output == "table" || o.output == "wide"
}

// section is a list of what a verb shows.
type section struct {
	list  member                         // for programs
	table func(out io.Writer, wide bool) // for people
}

// sectionOf makes a section of rows.
func sectionOf[T any](name string, columns []column[T], rows []T) section {
	return section{member{name, orEmpty(rows)}, func(out io.Writer, wide bool) { showTable(out, wide, columns, rows) }}
}

// show prints rows in the form that was asked for.
func show[T any](out io.Writer, o *options, verb string, columns []column[T], rows []T) error {
	return showSections(out, o, sectionOf(verb, columns, rows))
}

func showSections(out io.Writer, o *options, sections ...section) error {
	switch o.output {
	case "json":
		return showJSON(out, sections)
	case "yaml":
		if o.watch {
			fmt.Fprintln(out, "---") // or they would be one document
		}
		return showYAML(out, sections)
	}
	for i, s := range sections {
		if i > 0 {
			fmt.Fprintln(out)
		}
		s.table(out, o.output == "wide")
	}
	return nil
}

// document is the schema and then the lists, in this order.
func document(sections []section) object {
	all := object{{"schema", schema}}
	for _, s := range sections {
		all = append(all, s.list)
	}
	return all
}

// orEmpty makes [] of what JSON would show as null.
func orEmpty[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}

func showJSON(out io.Writer, sections []section) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(document(sections))
}

// showYAML goes by way of JSON, so that both have the same names.
func showYAML(out io.Writer, sections []section) error {
	verb := sections[0].list.key
	text, err := json.Marshal(document(sections))
	if err != nil {
		return fmt.Errorf("encoding %s: %w", verb, err)
	}
	// JSON is YAML; the nodes keep numbers and order as they are.
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return fmt.Errorf("encoding %s: %w", verb, err)
	}
	plain(&node)
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	return encoder.Encode(&node)
}

// plain takes JSON's quotes and braces off.
func plain(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		plain(child)
	}
}

func showTable[T any](out io.Writer, wide bool, columns []column[T], rows []T) {
	w := table.NewWriter()
	w.SetOutputMirror(out)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	w.SetStyle(style)
	var header table.Row
	for _, c := range columns {
		if wide || !c.wide {
			header = append(header, c.name)
		}
	}
	w.AppendHeader(header)
	for _, row := range rows {
		var cells table.Row
		for _, c := range columns {
			if wide || !c.wide {
				cells = append(cells, orDash(c.cell(row)))
			}
		}
		w.AppendRow(cells)
	}
	w.Render()
}

func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}
