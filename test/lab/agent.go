// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Document is the path of the environment document that the host's agent reads.
func (h *Host) Document() string {
	return filepath.Join(h.RunDir, "documents", "lab.yaml")
}

// WriteDocument gives the host's agent a document. It is replaced in one step.
func (h *Host) WriteDocument(document string) error {
	if err := os.MkdirAll(filepath.Dir(h.Document()), 0o755); err != nil {
		return fmt.Errorf("document folder: %w", err)
	}
	staged := h.Document() + ".new"
	if err := os.WriteFile(staged, []byte(document), 0o644); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	return os.Rename(staged, h.Document())
}

// StartAgent starts overcastd on the host and waits until it says, as to
// systemd, that it is ready. If it ends before that, its log is the error.
func (h *Host) StartAgent(overcastd string, flags ...string) (*Process, error) {
	return h.StartAgentWith(nil, overcastd, flags...)
}

// StartAgentWith is StartAgent with more environment variables, as KEY=value.
func (h *Host) StartAgentWith(env []string, overcastd string, flags ...string) (*Process, error) {
	socket := filepath.Join(h.RunDir, "notify")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	defer listener.Close()
	p, err := h.LaunchAgent(append(env, "NOTIFY_SOCKET="+socket), overcastd, flags...)
	if err != nil {
		return nil, err
	}
	message := make([]byte, 1024)
	for {
		if err := listener.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return nil, err
		}
		n, err := listener.Read(message)
		if err == nil && strings.Contains(string(message[:n]), "READY=1") {
			return p, nil
		}
		if ended, how := p.Ended(); ended {
			return nil, fmt.Errorf("%s: overcastd ended: %w\n%s", h.Name, how, p.Log())
		}
	}
}

// LaunchAgent starts overcastd and does not wait for anything.
func (h *Host) LaunchAgent(env []string, overcastd string, flags ...string) (*Process, error) {
	args := append([]string{
		"--host", h.Name, "--store-path", filepath.Dir(h.Document()),
		"--pin-path", h.PinPath, "--run-dir", h.RunDir, "--config", os.DevNull,
	}, flags...)
	cmd := exec.Command(overcastd, args...)
	cmd.Env = append(os.Environ(), env...)
	return h.StartLogged("overcastd.log", cmd)
}
