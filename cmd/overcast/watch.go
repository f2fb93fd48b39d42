// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// interval is how often --watch shows.
const interval = time.Second

// writer is where a verb shows what it found.
type writer struct {
	out, errs io.Writer
	o         *options
	warned    string // what was warned of last
}

// warn tells something beside what is shown. Where the screen is cleared it has
// to be told each time, else once.
func (w *writer) warn(text string) {
	if text != "" && (text != w.warned || w.o.tabular()) {
		fmt.Fprintln(w.errs, text)
	}
	w.warned = text
}

// again shows until the context ends. What cannot be shown the first time is an
// error; later it may come back, as the datapath does that is unloaded and
// loaded anew.
func (w *writer) again(ctx context.Context, once func() error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for first := true; ; first = false {
		if w.o.tabular() && !first {
			fmt.Fprint(w.out, "\x1b[H\x1b[2J")
		}
		if err := once(); err != nil {
			if first {
				return err
			}
			w.warn("overcast: " + err.Error())
		}
		if w.o.shown != nil {
			w.o.shown()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
