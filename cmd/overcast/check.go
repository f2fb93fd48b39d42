// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"overcast/policy"
)

// problemRow is one mistake in a document.
type problemRow struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
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
			var docs []policy.Document
			for _, path := range args {
				more, err := policy.ReadDocuments(path)
				if err != nil {
					return err
				}
				docs = slices.Concat(docs, more)
			}
			model, err := policy.Parse(docs)
			var problems policy.Problems
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			rows := []problemRow{}
			for _, p := range problems {
				rows = append(rows, problemRow{p.File, p.Line, p.Column, p.Key, p.Message, p.Want, p.String()})
			}
			if o.output == "json" || o.output == "yaml" {
				if err := show(cmd.OutOrStdout(), o, "check", nil, rows); err != nil {
					return err
				}
			} else if model != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "fine: %d documents, %d hosts, %d environments\n", len(docs), len(model.Hosts), len(model.Environments))
			} else {
				for _, row := range rows {
					fmt.Fprintln(cmd.OutOrStdout(), row.text)
				}
			}
			if len(rows) > 0 {
				return errWanting
			}
			return nil
		},
	}
}
