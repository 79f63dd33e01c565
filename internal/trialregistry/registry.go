// Package trialregistry is a container registry for trials, demonstrations and
// tests: go-containerregistry's, in memory, on a loopback port, without
// authentication or TLS.
package trialregistry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is a running registry.
type Registry struct {
	// Addr is host:port, the first part of its references.
	Addr   string
	server *http.Server
	done   chan error
}

// Start starts a registry that listens on addr ("127.0.0.1:0" picks a port).
// Its content is gone when it is closed.
func Start(ctx context.Context, addr string) (*Registry, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the registry can't listen: %w", err)
	}
	r := &Registry{
		Addr: listener.Addr().String(),
		server: &http.Server{
			Handler:           registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))),
			ReadHeaderTimeout: 10 * time.Second,
		},
		done: make(chan error, 1),
	}
	go func() { r.done <- r.server.Serve(listener) }()
	return r, nil
}

// Wait blocks until ctx ends or the registry fails, and closes it.
func (r *Registry) Wait(ctx context.Context) error {
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return r.Close()
	}
}

// Close stops the registry at once.
func (r *Registry) Close() error {
	if err := r.server.Close(); err != nil {
		return fmt.Errorf("stop the registry: %w", err)
	}
	if err := <-r.done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
