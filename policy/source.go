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
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Document is the text of an environment document and where it comes from.
type Document struct {
	Name string // as errors name it: a path, or the name of a variable
	Data []byte
	Err  error // why it could not be read; Parse tells it among the mistakes
}

// Equal tells whether two documents have the same name and text.
func (d Document) Equal(other Document) bool {
	return d.Name == other.Name && bytes.Equal(d.Data, other.Data) && fmt.Sprint(d.Err) == fmt.Sprint(other.Err)
}

// maxDocument is what a document may have, in bytes. A description of a whole
// cloud has less, and what is larger was meant for somebody else.
const maxDocument = 64 << 20

// ReadDocuments reads a file, or every *.yaml of a folder in name order. A file
// that cannot be read comes as a document with an error, so that it hides no
// mistake of the others.
func ReadDocuments(path string) ([]Document, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("environment documents: %w", err)
	}
	if !info.IsDir() {
		return []Document{readDocument(path)}, nil
	}
	files, err := filesOf(path, ".yaml")
	if err != nil {
		return nil, err
	}
	var docs []Document
	for _, file := range files {
		docs = append(docs, readDocument(file))
	}
	return docs, nil
}

// Ignored lists the files of a folder that look like documents and have another
// ending than ReadDocuments reads.
func Ignored(path string) []string {
	files, err := filesOf(path, ".yml")
	if err != nil {
		return nil // no folder: its file is read whatever its name
	}
	return files
}

// filesOf lists the files of a folder with an ending, in name order. Hidden
// ones are what editors and copies leave.
func filesOf(folder, ending string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("environment documents: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() && strings.HasSuffix(entry.Name(), ending) && !strings.HasPrefix(entry.Name(), ".") {
			files = append(files, filepath.Join(folder, entry.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}

func readDocument(path string) Document {
	data, err := readRegular(path)
	return Document{Name: path, Data: data, Err: err}
}

// readRegular reads a regular file of a bounded size. Anything else may have no
// end, or none to write to it: to open a FIFO is to wait, and to open a device
// may do something. It may turn into one between the two looks, so the file is
// opened in a way that does not wait.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, err
	}
	// What the kernel makes up, or what is being written, has another size
	// than it says.
	data, err := io.ReadAll(io.LimitReader(file, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, errTooLarge
	}
	return data, nil
}

var errTooLarge = fmt.Errorf("larger than the %d MiB that a document may have", maxDocument>>20)

// regular tells what cannot be a document.
func regular(info fs.FileInfo) error {
	kind := ""
	switch mode := info.Mode(); {
	case mode.IsRegular() && info.Size() > maxDocument:
		return errTooLarge
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "folder"
	case mode&fs.ModeNamedPipe != 0:
		kind = "FIFO"
	case mode&fs.ModeSocket != 0:
		kind = "socket"
	default:
		kind = "device"
	}
	return fmt.Errorf("a %s and not a regular file", kind)
}
