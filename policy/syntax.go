// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// Kinds of the library's errors (yaml_error_type_t).
const (
	readerError  = 2 // bytes that no text has; told with their offset
	scannerError = 3
	parserError  = 4
)

// mark is a place as the library keeps it; lines and columns count from 1.
type mark struct{ line, column int }

// syntaxMarks is what the library knows of an error.
type syntaxMarks struct {
	kind    int
	offset  int    // of a readerError, in bytes
	problem mark   // where the text stopped to make sense
	context string // what was being read then
	begin   mark   // where that began
}

// SyntaxProblem tells where a decoder came upon text that is not YAML.
//
// The library's message has one line, which is that of the problem or of what
// it is in, counted from 0 or from 1, and no column. It knows both places.
func SyntaxProblem(doc Document, decoder *yaml.Decoder, err error) Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Position{doc.Name, 1, 1}, "", "not YAML: " + message, "a YAML document"}
	marks, known := marksOf(decoder)
	switch {
	case !known:
		return p
	case marks.kind == readerError:
		p.Line, p.Column = placeOf(doc.Data, marks.offset)
		return p
	case marks.kind != scannerError && marks.kind != parserError:
		if alias := unknownAlias.FindStringSubmatch(message); alias != nil {
			p.Line, p.Column = placeOf(doc.Data, bytes.Index(doc.Data, []byte("*"+alias[1])))
		}
		return p
	}
	message = messageLine.ReplaceAllString(message, "")
	p.Line, p.Column = marks.problem.line, marks.problem.column
	p.Message = "not YAML: " + message
	if marks.context == "" || marks.begin.line >= marks.problem.line {
		return p
	}
	// A bracket or a quote that is not closed is found far behind it, at the
	// end of the text or at whatever cannot stand inside.
	if enclosed.MatchString(marks.context) {
		p.Line, p.Column = marks.begin.line, marks.begin.column
		p.Message = fmt.Sprintf("not YAML: what begins here goes wrong at line %d: %s", marks.problem.line, message)
		return p
	}
	p.Message += fmt.Sprintf(" in what begins at line %d", marks.begin.line)
	return p
}

var (
	messageLine  = regexp.MustCompile(`^line \d+: `)
	unknownAlias = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	enclosed     = regexp.MustCompile(`flow (mapping|sequence|node)|quoted scalar`)
)

// marksOf reads the marks out of the library's parser, which has no other way
// to ask for them. Another version of the library may keep them elsewhere; then
// its own message must do.
func marksOf(decoder *yaml.Decoder) (m syntaxMarks, known bool) {
	// Reflect panics at a field of another kind.
	defer func() {
		if recover() != nil {
			m, known = syntaxMarks{}, false
		}
	}()
	parser := reflect.ValueOf(decoder).Elem().FieldByName("parser").Elem().FieldByName("parser")
	at := func(v reflect.Value) mark {
		return mark{int(v.FieldByName("line").Int()) + 1, int(v.FieldByName("column").Int()) + 1}
	}
	m = syntaxMarks{
		kind:    int(parser.FieldByName("error").Int()),
		offset:  int(parser.FieldByName("problem_offset").Int()),
		problem: at(parser.FieldByName("problem_mark")),
		context: parser.FieldByName("context").String(),
		begin:   at(parser.FieldByName("context_mark")),
	}
	// A value that is missing between brackets begins where it is missing; the
	// brackets are the last of what is open.
	if open := parser.FieldByName("marks"); m.context == "while parsing a flow node" && open.Len() > 0 {
		m.begin = at(open.Index(open.Len() - 1))
	}
	return m, true
}

// placeOf is the line and column of a byte; columns count letters.
func placeOf(data []byte, offset int) (line, column int) {
	before := data[:min(max(offset, 0), len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}
