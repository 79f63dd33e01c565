// Package serve is the gate as a long-lived process: it speaks Argo CD's plugin
// protocol at a socket of its own, where argocd-repo-server finds it. The engine
// is the one of generate (package gate); what is new here is that requests
// share a process: its processors, its memory, what it knows of registries, and
// its end.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/pin-cmp/pin-cmp/internal/plugin"
	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/render"
)

// Options say how to serve. The zero value of a number is its default.
type Options struct {
	Config plugin.Config
	// SocketDir is where argocd-repo-server looks for plugins.
	SocketDir string
	// PolicyFile is read again when it changes; "" is the default policy. If
	// PolicyOptional is set and the file was never there, so is the default.
	PolicyFile     string
	PolicyOptional bool
	// Ready is how many render children wait; less than 0 is none.
	Ready int
	// Concurrency is how many applications are rendered at once.
	Concurrency int
	// CheckoutMemory is what all checkouts may take together, in bytes.
	CheckoutMemory int64
	// Limits bound one checkout.
	Limits plugin.Limits
	// MaxMessage bounds messages in both directions, in bytes.
	MaxMessage int
	// MaxTime bounds a request whose caller has set no deadline.
	MaxTime time.Duration
	// Stall is how long a caller may send nothing.
	Stall time.Duration
	// Drain is how long requests may go on when the server is to end.
	Drain time.Duration
	// MetricsAddress is where Prometheus's text is served; "" is nowhere.
	MetricsAddress string
	Log            *slog.Logger
}

// Defaults of Options.
const (
	DefaultReady          = 2
	DefaultCheckoutMemory = 1 << 30
	DefaultMaxMessage     = 100 << 20 // Argo CD's own, ARGOCD_GRPC_MAX_SIZE_MB
	DefaultMaxTime        = 2 * time.Minute
	DefaultStall          = 30 * time.Second
	// DefaultDrain leaves 5 of the 30 s that Kubernetes gives a container to
	// the answers of those whose time was up.
	DefaultDrain = 20 * time.Second
)

// maxWaiting bounds the applications that wait for a render: more than every
// application that one repo-server has asked for in its 60 s.
const maxWaiting = 5000

// keepaliveTime is the shortest time between two pings that is no abuse. A
// repo-server sends one every 20 s, or 2 * ARGOCD_GRPC_KEEP_ALIVE_MIN.
const keepaliveTime = 5 * time.Second

// handshake is how long who has connected may say nothing.
const handshake = 20 * time.Second

func (o *Options) setDefaults() {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&o.Ready, DefaultReady)
	set(&o.Concurrency, 2*runtime.GOMAXPROCS(0))
	set(&o.MaxMessage, DefaultMaxMessage)
	if o.CheckoutMemory == 0 {
		o.CheckoutMemory = DefaultCheckoutMemory
	}
	for _, d := range []struct {
		of    *time.Duration
		value time.Duration
	}{{&o.MaxTime, DefaultMaxTime}, {&o.Stall, DefaultStall}, {&o.Drain, DefaultDrain}} {
		if *d.of == 0 {
			*d.of = d.value
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Server is a plugin that can be served.
type Server struct {
	o       Options
	service *service
	ready   *render.Ready
	metrics *metrics
}

// New returns a server, once everything that it was told makes sense: the
// error is a *verify.PolicyError or about something that the policy names.
func New(o Options) (*Server, error) {
	o.setDefaults()
	m := newMetrics()
	s := &Server{o: o, metrics: m}
	renderers := newQueue(o.Concurrency, maxWaiting)
	isolated := &render.Isolated{}
	s.ready = render.NewReady(isolated, max(0, o.Ready))
	s.service = &service{
		o:      o,
		memory: newBudget(o.CheckoutMemory),
		engine: &engine{
			file: o.PolicyFile, optional: o.PolicyOptional, metrics: m,
			renderer: &queued{s.ready, renderers, m},
			warn:     func(text string) { o.Log.Warn(text) },
		},
		metrics: m,
		idle:    newIdle(afterwards, debug.FreeOSMemory),
	}
	m.gauge("pin_cmp_queue_length", "Applications that wait for their render.", func() float64 { return float64(renderers.length()) })
	m.gauge("pin_cmp_checkout_bytes", "Bytes of the checkouts that are held in memory.", func() float64 { return float64(s.service.memory.held()) })
	m.gauge("pin_cmp_ready_children", "Render children that wait for an application.", func() float64 { return float64(s.ready.Waiting()) })
	if _, err := s.service.engine.current(); err != nil {
		s.ready.Close()
		return nil, err
	}
	return s, nil
}

// Run serves until ctx ends and then lets go in this order: the socket is
// removed, so that nobody finds it any more; whoever has connected is still
// answered; after Drain what is left is told that the plugin is being stopped.
// It returns with no child left.
func (s *Server) Run(ctx context.Context) error {
	defer s.ready.Close()
	defer s.service.idle.stop()
	path := s.o.Config.Socket(s.o.SocketDir)
	socket, err := plugin.Listen(path)
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	stopping, stop := context.WithCancel(context.Background())
	defer stop()
	s.service.stopping = stopping
	if adopts() {
		go reap(stopping, reapEvery)
	}
	if err := s.serveMetrics(stopping); err != nil {
		return errors.Join(err, socket.Withdraw(0))
	}

	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(s.o.MaxMessage),
		grpc.MaxSendMsgSize(s.o.MaxMessage),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.recoverUnary),
		grpc.ChainStreamInterceptor(s.recoverStream),
	)
	pluginpb.RegisterConfigManagementPluginServiceServer(server, s.service)
	probe := health.NewServer()
	healthpb.RegisterHealthServer(server, probe)
	probe.SetServingStatus(pluginpb.ConfigManagementPluginService_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)

	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	s.ready.Settle(ctx)
	debug.FreeOSMemory() // what the start has used is not what the sidecar needs
	if err := socket.Publish(); err != nil {
		server.Stop()
		return errors.Join(err, socket.Withdraw(0))
	}
	s.o.Log.Info("serving", "socket", path, "plugin", s.o.Config.Name)
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("the server ended by itself: %w", err), socket.Withdraw(0))
	case <-ctx.Done():
	}

	s.o.Log.Info("stopping")
	err = socket.Withdraw(acceptLast)
	probe.Shutdown()
	drained := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(s.o.Drain):
		stop()
		select {
		case <-drained:
		case <-time.After(lastAnswers):
			server.Stop()
			<-drained
		}
	}
	s.o.Log.Info("stopped")
	return err
}

const (
	reapEvery = 10 * time.Second
	// acceptLast bounds the wait for those who connected last to be spoken to.
	acceptLast = 2 * time.Second
	// lastAnswers is the time for the answers of those whose time was up.
	lastAnswers = 2 * time.Second
)

// serveMetrics serves the metrics until ctx ends.
func (s *Server) serveMetrics(ctx context.Context) error {
	if s.o.MetricsAddress == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.o.MetricsAddress)
	if err != nil {
		return fmt.Errorf("the metrics can't be served: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := s.metrics.write(w); err != nil {
			s.o.Log.Debug("the metrics were not sent", "error", err.Error())
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.o.Log.Error("the metrics are no longer served", "error", err.Error())
		}
	}()
	return nil
}

func (s *Server) recoverUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return handler(ctx, request)
}

func (s *Server) recoverStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return handler(server, stream)
}

// recovered makes an error of a panic: one application's request must not end
// those of all the others.
func (s *Server) recovered(method string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	s.o.Log.Error("panic", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	s.metrics.generates.add(resultFailed)
	*err = status.Error(codes.Internal, "pin-cmp: failed on this application, which is a bug of pin-cmp: the plugin's log has the details, please report them")
}

// Healthy asks the server at a socket whether it serves. The error says what it
// does instead.
func Healthy(ctx context.Context, socket string) error {
	path, err := filepath.Abs(socket)
	if err != nil {
		return fmt.Errorf("%s: %w", socket, err)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	connection, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = connection.Close() }()
	answer, err := healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{
		Service: pluginpb.ConfigManagementPluginService_ServiceDesc.ServiceName,
	})
	if err != nil {
		return fmt.Errorf("%s: no answer: %s", path, status.Convert(err).Message())
	}
	if answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s: answers, but is not serving", path)
	}
	return nil
}
