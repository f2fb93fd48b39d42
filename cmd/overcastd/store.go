// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"overcast/policy"
)

// documents reads the environment documents.
func (c *Config) documents() ([]policy.Document, error) {
	if c.Document != nil {
		return []policy.Document{{Name: documentVariable, Data: []byte(*c.Document)}}, nil
	}
	return policy.ReadDocuments(c.StorePath)
}

// source names where the documents come from.
func (c *Config) source() string {
	if c.Document != nil {
		return documentVariable
	}
	return c.StorePath
}

// quiet is how long the documents must rest before they are read: an editor
// or a copy writes in several steps.
const quiet = 50 * time.Millisecond

// watchStore tells when the documents may have changed, until the context
// ends. It watches the folder, since editors replace files, and a link in it
// may turn to another folder.
func (c *Config) watchStore(ctx context.Context, log *slog.Logger) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	if c.Document != nil {
		return changed, nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching the documents: %w", err)
	}
	folders := []string{c.StorePath, filepath.Dir(c.StorePath)}
	for _, folder := range folders {
		if err := watcher.Add(folder); err != nil {
			watcher.Close()
			return nil, fmt.Errorf("watching %s: %w", folder, err)
		}
	}
	ignored := c.warnIgnored(nil, log)
	go func() {
		defer watcher.Close()
		timer := time.NewTimer(0)
		<-timer.C
		for {
			select {
			case <-ctx.Done():
				return
			case err := <-watcher.Errors:
				log.Warn("watching the documents", "error", err)
				timer.Reset(quiet)
			case event := <-watcher.Events:
				if event.Op != fsnotify.Chmod {
					timer.Reset(quiet)
				}
			case <-timer.C:
				// A folder that was replaced, or a link that was turned to
				// another one, is watched no more. Before the documents are
				// read, so that nothing falls between.
				for _, folder := range folders {
					_ = watcher.Add(folder) // one that is gone shows when it is read
				}
				ignored = c.warnIgnored(ignored, log)
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}()
	return changed, nil
}

// warnIgnored tells of files that were meant as documents by their looks and
// are none by their names, unless it has told of the same before.
func (c *Config) warnIgnored(before []string, log *slog.Logger) []string {
	ignored := policy.Ignored(c.StorePath)
	if len(ignored) > 0 && !slices.Equal(ignored, before) {
		log.Warn("files are not read, as their names do not end in .yaml", "files", ignored)
	}
	return ignored
}
