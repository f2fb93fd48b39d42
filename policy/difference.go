// SPDX-License-Identifier: Apache-2.0

package policy

// Difference is what it takes to get from what there is to what should be.
type Difference[K comparable, V any] struct {
	Put    map[K]V // missing, or there with another value
	Delete []K     // there and not wanted
}

// Compare computes the difference of two tables.
func Compare[K, V comparable](have, want map[K]V) Difference[K, V] {
	d := Difference[K, V]{Put: make(map[K]V)}
	for key, value := range want {
		if old, ok := have[key]; !ok || old != value {
			d.Put[key] = value
		}
	}
	for key := range have {
		if _, ok := want[key]; !ok {
			d.Delete = append(d.Delete, key)
		}
	}
	return d
}
