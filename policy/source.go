// SPDX-License-Identifier: Apache-2.0

// Package policy says what should be: it reads environment documents, checks
// them, and works out what they mean for one host. It knows nothing of the
// kernel.
//
// Text becomes a checked model at once (Parse); inside there are no strings
// left to interpret.
package policy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Document is the text of an environment document and where it comes from.
type Document struct {
	Name string // as errors name it: a path, or the name of a variable
	Data []byte
}

// Equal tells whether two documents have the same name and text.
func (d Document) Equal(other Document) bool {
	return d.Name == other.Name && bytes.Equal(d.Data, other.Data)
}

// ReadDocuments reads a file, or every *.yaml of a folder in name order.
func ReadDocuments(path string) ([]Document, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("environment documents: %w", err)
	}
	if !info.IsDir() {
		return readFiles([]string{path})
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("environment documents: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() && strings.HasSuffix(entry.Name(), ".yaml") && !strings.HasPrefix(entry.Name(), ".") {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	slices.Sort(files)
	return readFiles(files)
}

func readFiles(paths []string) ([]Document, error) {
	var docs []Document
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("environment document: %w", err)
		}
		docs = append(docs, Document{Name: path, Data: data})
	}
	return docs, nil
}
