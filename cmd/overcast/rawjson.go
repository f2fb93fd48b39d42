// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"unicode"

	"overcast/bpf"
	"overcast/policy"
)

// MarshalJSON gives the fields the names of bpf/types.h.
func (e rawEntry) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"key": rawJSON(reflect.ValueOf(e.Key)), "value": rawJSON(reflect.ValueOf(e.Value))})
}

// rawJSON is a key or value as JSON should show it: MACs and addresses as text,
// other bytes in hexadecimal, and no padding.
func rawJSON(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case bpf.Addr:
		return addr(value.NetAddr())
	case [6]byte:
		return policy.MAC(value).String()
	case [16]byte:
		return hex.EncodeToString(value[:])
	}
	switch v.Kind() {
	case reflect.Struct:
		fields := make(map[string]any)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name != "_" && name != "Pad" {
				fields[snakeCase(name)] = rawJSON(v.Field(i))
			}
		}
		return fields
	case reflect.Array, reflect.Slice:
		items := make([]any, v.Len())
		for i := range items {
			items[i] = rawJSON(v.Index(i))
		}
		return items
	}
	return v.Interface()
}

func snakeCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
