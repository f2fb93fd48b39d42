// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"overcast/policy"
)

// problemRow is one mistake in a document.
type problemRow struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 0, as the column: the file as a whole
	Column  int    `json:"column"`
	Key     string `json:"key"`
	Message string `json:"message"`
	Want    string `json:"want"`
	text    string
}

func checkCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Check environment documents (files or folders), all together",
		Long: `Check environment documents, all together as the agent would read them.

Exit code 3 says that something is wrong with them; every mistake is printed
with its file, line and column and with what would be right.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("check wants files or folders: %w", errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			set, unread := readSet(args)
			for _, file := range set.ignored {
				fmt.Fprintf(cmd.ErrOrStderr(), "overcast: %s is not read: its name does not end in .yaml\n", file)
			}
			model, err := policy.Parse(set.documents)
			var problems policy.Problems
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			rows := []problemRow{}
			for _, p := range slices.Concat(set.problems, problems) {
				if slices.Contains(set.unread, p.File) {
					continue // that is the error, and not what was found
				}
				rows = append(rows, problemRow{p.File, p.Line, p.Column, p.Key, p.Message, p.Want, p.String()})
			}
			if !o.tabular() {
				if err := show(cmd.OutOrStdout(), o, "check", nil, rows); err != nil {
					return err
				}
			}
			switch {
			case !o.tabular():
			case len(rows) == 0 && unread == nil:
				fmt.Fprintf(cmd.OutOrStdout(), "fine: %s, %s, %s\n", count(len(set.documents), "document"), count(len(model.Hosts), "host"), count(len(model.Environments), "environment"))
			default:
				for _, row := range rows {
					fmt.Fprintln(cmd.OutOrStdout(), row.text)
				}
			}
			if unread != nil {
				return unread
			}
			if len(rows) > 0 {
				return errWanting
			}
			return nil
		},
	}
}

// documentSet is what the arguments of a check lead to.
type documentSet struct {
	documents []policy.Document
	problems  policy.Problems // of files and folders as a whole
	ignored   []string
	unread    []string // arguments that lead nowhere
}

// readSet reads files and folders. The error names the arguments that lead
// nowhere; the others are read all the same.
func readSet(paths []string) (documentSet, error) {
	var set documentSet
	var errs []error
	seen := make(map[string]string) // the first name of each file
	for _, path := range paths {
		docs, err := policy.ReadDocuments(path)
		if err != nil {
			errs = append(errs, err)
			// Parse must know that there is more.
			set.documents = append(set.documents, policy.Document{Name: path, Err: err})
			set.unread = append(set.unread, path)
			continue
		}
		ignored := policy.Ignored(path)
		set.ignored = append(set.ignored, ignored...)
		if len(docs) == 0 {
			set.wrong(path, "holds no *.yaml", "a document, or a folder with some")
		}
		for _, doc := range docs {
			file := canonical(doc.Name)
			if first, twice := seen[file]; !twice {
				seen[file] = doc.Name
				set.documents = append(set.documents, doc)
			} else if first == doc.Name {
				set.wrong(doc.Name, "given twice", "it once")
			} else {
				set.wrong(doc.Name, "given twice, first as "+first, "it once")
			}
		}
	}
	return set, errors.Join(errs...)
}

func (s *documentSet) wrong(file, message, want string) {
	p := policy.Problem{Position: policy.Position{File: file}, Message: message, Want: want}
	if !slices.Contains(s.problems, p) {
		s.problems = append(s.problems, p)
	}
}

// canonical is the one name of a file that may be given by several.
func canonical(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return path
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
