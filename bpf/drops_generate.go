// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Makes the Go constants and docs/drops.md from the list of drop reasons in
// drops.h, which is their only home.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"regexp"
	"strings"
)

var row = regexp.MustCompile(`(?m)^\s*X\((\w+),\s*"([^"]+)"\)`)

// goName turns PORT_UNKNOWN into DropPortUnknown.
func goName(reason string) string {
	var b strings.Builder
	b.WriteString("Drop")
	for word := range strings.SplitSeq(reason, "_") {
		switch word {
		case "MTU", "FDB", "VNI", "VTEP":
			b.WriteString(word)
		default:
			b.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
	}
	return b.String()
}

func main() {
	source, err := os.ReadFile("drops.h")
	if err != nil {
		log.Fatal(err)
	}
	rows := row.FindAllStringSubmatch(string(source), -1)
	if len(rows) == 0 {
		log.Fatal("drops.h: no reasons found")
	}

	var code, doc bytes.Buffer
	code.WriteString("// Code generated from drops.h by drops_generate.go. DO NOT EDIT.\n\npackage bpf\n\n")
	code.WriteString("// The drop reasons.\nconst (\n")
	for _, r := range rows {
		fmt.Fprintf(&code, "\t%s = overcastOcDropDROP_%s // %s\n", goName(r[1]), r[1], r[2])
	}
	code.WriteString(")\n\nvar dropReasons = [...]struct{ name, text string }{\n\t{\"NONE\", \"not a drop\"},\n")
	for _, r := range rows {
		fmt.Fprintf(&code, "\t{%q, %q},\n", r[1], r[2])
	}
	code.WriteString("}\n")
	formatted, err := format.Source(code.Bytes())
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("drops.go", formatted, 0o644); err != nil {
		log.Fatal(err)
	}

	doc.WriteString("# Drop reasons\n\nEvery frame that ends in Overcast's programs is counted under one of these. `overcast drops` shows them; the metric is `overcast_drops_total{reason=...}`.\n\n<!-- generated from bpf/drops.h -->\n\n| reason | the frame |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&doc, "| `DROP_%s` | %s |\n", r[1], r[2])
	}
	if err := os.WriteFile("../docs/drops.md", doc.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}
