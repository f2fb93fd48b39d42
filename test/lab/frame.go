// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"
)

// SendFrame sends a frame from a device of the namespace, as it stands.
func (n *Namespace) SendFrame(device string, frame []byte) error {
	r, err := n.OpenRaw(device)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Write(frame); err != nil {
		return fmt.Errorf("%s: sending a frame on %s: %w", n.namespace, device, err)
	}
	return nil
}

// Count tells how often a frame has been recorded. Padding behind it does not
// matter: a short frame may grow to Ethernet's least length on its way.
func (c *Capture) Count(frame []byte) int {
	n := 0
	for _, f := range c.Frames() {
		rest, ok := bytes.CutPrefix(f.Data, frame)
		if ok && len(bytes.TrimLeft(rest, "\x00")) == 0 {
			n++
		}
	}
	return n
}

// Await waits until a frame has been recorded. The limit only ends a test
// that would hang.
func (c *Capture) Await(frame []byte) error {
	for deadline := time.Now().Add(5 * time.Second); c.Count(frame) == 0; {
		if time.Now().After(deadline) {
			return errors.Join(os.ErrDeadlineExceeded, fmt.Errorf("%s never saw the frame % x", c.Place, frame[:min(len(frame), 64)]))
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}
