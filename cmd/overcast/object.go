// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// object is a JSON object whose keys keep their order, where encoding/json
// would sort those of a map.
type object []member

// member is a key of an object and its value.
type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for i, m := range o {
		b.WriteByte("{,"[min(i, 1)])
		if err := encoder.Encode(m.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encoder.Encode(m.value); err != nil {
			return nil, err
		}
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// String shows the members on one line, as tables have them.
func (o object) String() string {
	texts := make([]string, len(o))
	for i, m := range o {
		texts[i] = fmt.Sprintf("%s: %v", m.key, m.value)
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// array is a JSON array that tables show with commas too.
type array []any

// String shows the items on one line.
func (a array) String() string {
	texts := make([]string, len(a))
	for i, item := range a {
		texts[i] = fmt.Sprint(item)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
