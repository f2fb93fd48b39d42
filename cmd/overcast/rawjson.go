// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"overcast/bpf"
	"overcast/policy"
)

// MarshalJSON gives the fields the names of bpf/types.h.
func (e rawEntry) MarshalJSON() ([]byte, error) {
	return json.Marshal(object{{"key", rawForm(e.Key)}, {"value", rawForm(e.Value)}})
}

// String shows the same to people.
func (e rawEntry) String() string {
	return fmt.Sprintf("%v = %v", rawForm(e.Key), rawForm(e.Value))
}

func rawForm(v any) any {
	return rawJSON(reflect.ValueOf(v))
}

// rawJSON is a key or value as it should be shown: the fields in their order,
// MACs and addresses as text, and no padding.
func rawJSON(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case bpf.Addr:
		return addr(value.NetAddr())
	case [6]byte:
		return policy.MAC(value).String()
	}
	switch v.Kind() {
	case reflect.Struct:
		fields := object{}
		for i := range v.NumField() {
			switch name := v.Type().Field(i).Name; name {
			case "_", "Pad":
			case "NextHop":
				// Its family is a field beside it.
				fields = append(fields, member{"next_hop", nextHop(v.Interface().(bpf.Path))})
			default:
				fields = append(fields, member{snakeCase(name), rawJSON(v.Field(i))})
			}
		}
		return fields
	case reflect.Array, reflect.Slice:
		items := make(array, v.Len())
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
