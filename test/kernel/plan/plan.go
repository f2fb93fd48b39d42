// SPDX-License-Identifier: Apache-2.0

// Package plan is what the test tells the init program of its virtual machine
// to do, and how that reports.
package plan

// Path is where the plan lies in the machine.
const Path = "/plan.json"

// Marks on the console, in front of a command's name; the end mark is followed
// by its exit code.
const (
	Begin = "=== begin "
	End   = "=== end "
)

// Plan is all that the machine does before it ends.
type Plan struct {
	Modules  []string // files, in the order of loading
	Commands []Command
}

// Command is a program to run.
type Command struct {
	Name string // one word, for the marks
	Args []string
	Env  []string
}
