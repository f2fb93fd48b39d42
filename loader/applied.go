// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"overcast/policy"
)

// Applied is what the datapath that runs was made from, kept in the run folder
// for an agent that starts when the documents are no longer right: with it the
// running state has its names, and goes on following the machine.
type Applied struct {
	Host      string            `json:"host"`
	Time      time.Time         `json:"time"`
	Documents []policy.Document `json:"documents"`
}

func appliedPath(runDir string) string {
	return filepath.Join(runDir, "applied.json")
}

// WriteApplied replaces what is kept in one step.
func WriteApplied(runDir string, a *Applied) error {
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("keeping the documents: %w", err)
	}
	// The documents may be for root's eyes.
	if err := replaceFile(appliedPath(runDir), text, 0o600); err != nil {
		return fmt.Errorf("keeping the documents: %w", err)
	}
	return nil
}

// ReadApplied reads what is kept. The error wraps fs.ErrNotExist if that is nothing.
func ReadApplied(runDir string) (*Applied, error) {
	text, err := os.ReadFile(appliedPath(runDir))
	if err != nil {
		return nil, fmt.Errorf("the documents applied last: %w", err)
	}
	var a Applied
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("the documents applied last, %s: %w", appliedPath(runDir), err)
	}
	return &a, nil
}

// replaceFile gives a file other contents in one step, and makes its folder.
func replaceFile(path string, text []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	staged := path + ".new"
	if err := os.WriteFile(staged, text, mode); err != nil {
		return err
	}
	return os.Rename(staged, path)
}
