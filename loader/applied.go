// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/json"
	"errors"
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

// stagedPath has documents from before they are applied until they are, or are
// refused: an agent that is killed meanwhile leaves them behind.
func stagedPath(runDir string) string {
	return filepath.Join(runDir, "applying.json")
}

// StageApplied keeps what is about to be applied. CommitApplied or DropApplied
// follows.
func StageApplied(runDir string, a *Applied) error {
	text, err := json.Marshal(a)
	if err == nil {
		// The documents may be for root's eyes.
		err = replaceFile(stagedPath(runDir), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping the documents: %w", err)
	}
	return nil
}

// CommitApplied makes what was staged what is kept, in one step.
func CommitApplied(runDir string) error {
	if err := os.Rename(stagedPath(runDir), appliedPath(runDir)); err != nil {
		return fmt.Errorf("keeping the documents: %w", err)
	}
	return nil
}

// DropApplied forgets what was staged, as it was refused.
func DropApplied(runDir string) error {
	if err := absent(os.Remove(stagedPath(runDir))); err != nil {
		return fmt.Errorf("forgetting refused documents: %w", err)
	}
	return nil
}

// WriteApplied replaces what is kept in one step.
func WriteApplied(runDir string, a *Applied) error {
	if err := StageApplied(runDir, a); err != nil {
		return err
	}
	return CommitApplied(runDir)
}

// HasApplied tells whether anything is kept.
func HasApplied(runDir string) bool {
	_, err := os.Stat(appliedPath(runDir))
	return err == nil
}

// ReadApplied reads what is kept: first what an agent was applying when it was
// killed, if one was, then what was applied before. The error wraps
// fs.ErrNotExist if that is nothing.
func ReadApplied(runDir string) ([]*Applied, error) {
	var all []*Applied
	var errs []error
	for _, path := range []string{stagedPath(runDir), appliedPath(runDir)} {
		text, err := os.ReadFile(path)
		var a Applied
		if err == nil {
			err = json.Unmarshal(text, &a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the documents applied last, %s: %w", path, err))
			continue
		}
		all = append(all, &a)
	}
	if len(all) == 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
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
