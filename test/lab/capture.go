// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// Frame is a captured frame.
type Frame struct {
	Time     time.Time
	Data     []byte // from the Ethernet header on
	Place    string // the name of the capture
	Outgoing bool   // sent by the device, not received
}

// Capture records the frames of a device, both ways.
type Capture struct {
	Place  string
	raw    *Raw
	done   chan struct{}
	mu     sync.Mutex
	frames []Frame
}

// Capture begins to record a device of the namespace; place names it in files.
func (l *Lab) Capture(n *Namespace, device, place string) (*Capture, error) {
	c := &Capture{Place: place, done: make(chan struct{})}
	var err error
	if c.raw, err = n.OpenRaw(device); err != nil {
		return nil, fmt.Errorf("capturing: %w", err)
	}
	go c.read()
	l.defers(func() error {
		c.Stop()
		return nil
	})
	return c, nil
}

func (c *Capture) read() {
	defer close(c.done)
	for {
		frame, err := c.raw.Read()
		if errors.Is(err, unix.ENETDOWN) {
			continue // the device went down; it may come up again
		}
		if err != nil {
			return
		}
		c.mu.Lock()
		frame.Place = c.Place
		c.frames = append(c.frames, frame)
		c.mu.Unlock()
	}
}

// Frames returns what has been recorded so far.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Frame(nil), c.frames...)
}

// Stop ends the recording. It may be called again.
func (c *Capture) Stop() {
	_ = c.raw.Close() // closed already is fine
}

// WritePcapng writes captures into one file, each as an interface of its own.
func WritePcapng(path string, captures ...*Capture) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("capture file: %w", err)
	}
	defer file.Close()
	var w *pcapgo.NgWriter
	for i, c := range captures {
		iface := pcapgo.NgInterface{Name: c.Place, LinkType: layers.LinkTypeEthernet, SnapLength: 1 << 17}
		if i == 0 {
			w, err = pcapgo.NewNgWriterInterface(file, iface, pcapgo.DefaultNgWriterOptions)
		} else {
			_, err = w.AddInterface(iface)
		}
		if err != nil {
			return fmt.Errorf("capture file: %w", err)
		}
		for _, frame := range c.Frames() {
			info := gopacket.CaptureInfo{Timestamp: frame.Time, CaptureLength: len(frame.Data), Length: len(frame.Data), InterfaceIndex: i}
			if err := w.WritePacket(info, frame.Data); err != nil {
				return fmt.Errorf("capture file: %w", err)
			}
		}
	}
	return w.Flush()
}
