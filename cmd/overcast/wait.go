// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// await waits until overcastd has applied its documents, at most for so long.
// The error says what was missing at the end.
func (o *options) await(ctx context.Context, patience time.Duration) error {
	deadline := time.After(patience)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		missing := o.applied()
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return missing
		case <-deadline:
			return fmt.Errorf("not ready after %s: %w", patience, missing)
		case <-ticker.C:
		}
	}
}

// applied tells what is missing until the agent's documents are in force.
func (o *options) applied() error {
	v, err := o.open()
	if err != nil {
		return err
	}
	defer v.set.Close()
	switch {
	case !v.alive:
		return errors.New("overcastd is not running")
	case v.numbered:
		return errors.New(v.warning)
	case v.holder != 0 && v.holder != v.report.PID:
		// What the report says is the word of the agent before this one.
		return errors.New("overcastd has just started and has applied nothing yet")
	case v.report.Config.Error != "":
		return fmt.Errorf("the configuration is refused: %s", v.report.Config.Error)
	case v.report.Config.Applied.IsZero():
		return errors.New("overcastd has applied nothing yet")
	}
	return nil
}
