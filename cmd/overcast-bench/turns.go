// SPDX-License-Identifier: Apache-2.0

package main

// turns returns the order in which n contenders are measured: there and back
// again (A B C C B A), so that a machine that grows slower or faster meanwhile
// does so for all of them alike.
func turns(n, rounds int) []int {
	order := make([]int, 0, n*rounds)
	for round := range rounds {
		for i := range n {
			if round%2 == 1 {
				i = n - 1 - i
			}
			order = append(order, i)
		}
	}
	return order
}
