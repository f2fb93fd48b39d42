// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"overcast/test/lab"
)

const hello = "Hello over IPv6, from a guest that no cloud knows of.\n"

const pageURL = "http://[2001:45::5]/"

// page serves a page in one guest and fetches it in the other.
func (s *stage) page(out string) error {
	title("A page over IPv6: client (2001:45::4) fetches %s from web", pageURL)
	server, err := s.serve()
	if err != nil {
		return err
	}
	defer server.Close()

	frames, err := s.capture(out, func() error {
		text, err := fetch(s.client, pageURL)
		if err != nil {
			return err
		}
		fmt.Printf("HTTP %s", text)
		return nil
	})
	if err != nil {
		return err
	}
	title("The same frames at client, inside their outer headers on the underlay, and at web")
	return s.trace(frames)
}

// serve serves the page in web.
func (s *stage) serve() (*http.Server, error) {
	listener, err := listen(s.web, "[2001:45::5]:80")
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, hello)
	})}
	go server.Serve(listener)
	return server, nil
}

// listen opens a TCP socket in a guest.
func listen(g *lab.Guest, address string) (net.Listener, error) {
	var listener net.Listener
	err := g.Do(func() error {
		var err error
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// fetch gets a page from inside a guest.
func fetch(g *lab.Guest, url string) (string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var conn net.Conn
		err := g.Do(func() error {
			var err error
			// One address, so that the dialer starts no goroutine of its own.
			conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return "", fmt.Errorf("fetching the page: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("fetching the page: %w", err)
	}
	if response.StatusCode != http.StatusOK || string(body) != hello {
		return "", fmt.Errorf("fetching the page: %s: %q", response.Status, body)
	}
	return response.Status + ": " + string(body), nil
}
