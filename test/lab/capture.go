// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Frame is a captured frame.
type Frame struct {
	Time  time.Time
	Data  []byte // from the Ethernet header on
	Place string // the name of the capture
}

// Capture records the frames of a device, both ways.
type Capture struct {
	Place  string
	handle *pcapgo.EthernetHandle
	done   chan struct{}
	mu     sync.Mutex
	frames []Frame
}

// Capture begins to record a device of the namespace; place names it in files.
func (l *Lab) Capture(n *Namespace, device, place string) (*Capture, error) {
	c := &Capture{Place: place, done: make(chan struct{})}
	err := n.Do(func() error {
		var err error
		c.handle, err = pcapgo.NewEthernetHandle(device)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("capturing on %s of %s: %w", device, n.namespace, err)
	}
	// Super-frames must not be cut.
	if err := c.handle.SetCaptureLength(1 << 17); err != nil {
		return nil, fmt.Errorf("capturing on %s of %s: %w", device, n.namespace, err)
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
		data, info, err := c.handle.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || err != nil {
			return
		}
		c.mu.Lock()
		c.frames = append(c.frames, Frame{info.Timestamp, data, c.Place})
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
	c.handle.Close()
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
