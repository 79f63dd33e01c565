package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"google.golang.org/grpc"

	"github.com/pin-cmp/pin-cmp/internal/argocd"
	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/internal/plugin"
	"github.com/pin-cmp/pin-cmp/internal/plugin/pluginpb"
	"github.com/pin-cmp/pin-cmp/render"
)

// service answers the requests of argocd-repo-server. It is safe for concurrent
// use; nothing of one request is seen by another but what registries said.
type service struct {
	pluginpb.UnimplementedConfigManagementPluginServiceServer
	o       Options
	engine  *engine
	memory  *budget
	metrics *metrics
	idle    *idle
	// stopping ends all requests, with errStopping, when they have had their
	// time.
	stopping context.Context
}

// CheckPluginConfiguration implements the protocol: no discovery, and no
// credentials of the repository are wanted.
func (s *service) CheckPluginConfiguration(context.Context, *emptypb.Empty) (*pluginpb.CheckPluginConfigurationResponse, error) {
	return &pluginpb.CheckPluginConfigurationResponse{}, nil
}

// MatchRepository implements the protocol. A plugin without discovery is not
// asked; if it is, it says so, as Argo CD's own server does.
func (s *service) MatchRepository(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.RepositoryResponse]) error {
	ctx, cancel := s.bounded(stream.Context())
	defer cancel()
	v := &visit{}
	share := s.memory.join()
	defer share.give()
	if _, err := s.receive(ctx, stream, share, nil); err != nil {
		return answerTo(ctx, err, v).err()
	}
	return stream.SendAndClose(&pluginpb.RepositoryResponse{})
}

// GenerateManifest implements the protocol.
func (s *service) GenerateManifest(stream grpc.ClientStreamingServer[pluginpb.AppStreamRequest, pluginpb.ManifestResponse]) error {
	began := time.Now()
	ctx, cancel := s.bounded(stream.Context())
	defer cancel()
	r := &record{}
	response, refused := s.generate(ctx, stream, r)
	if refused != nil {
		r.log(s, "generate", began, refused)
		return refused.err()
	}
	err := stream.SendAndClose(response)
	if err != nil {
		refused = &answer{codes.Canceled, "the answer could not be sent", resultCancelled}
	}
	r.log(s, "generate", began, refused)
	return err
}

// record is what the log says about a request.
type record struct {
	visit
	environ  []string
	received time.Duration
	outcome  *gate.Outcome
}

func (s *service) generate(ctx context.Context, stream plugin.Stream, r *record) (*pluginpb.ManifestResponse, *answer) {
	share := s.memory.join()
	defer share.give()
	if refused := s.check(ctx, stream, share, r); refused != nil {
		return nil, refused
	}
	if !r.outcome.Report.OK() {
		return nil, refusal(r.outcome.Report)
	}
	response := &pluginpb.ManifestResponse{Manifests: make([]string, len(r.outcome.Result.Manifests))}
	size := 0
	for i, manifest := range r.outcome.Result.Manifests {
		// What was verified is what is sent. Argo CD's own server sends JSON, too.
		text, err := json.Marshal(manifest.Object)
		if err != nil {
			return nil, &answer{codes.Internal, fmt.Sprintf("an object could not be written as JSON: %v; please report this", err), resultFailed}
		}
		response.Manifests[i] = string(text)
		size += len(text) + 6 // the field's number and length
	}
	if size > s.o.MaxMessage {
		return nil, &answer{
			codes.ResourceExhausted, fmt.Sprintf("the application renders to more than the %d MiB that Argo CD takes in one message; split it, or set ARGOCD_GRPC_MAX_SIZE_MB on the repo-server and on the plugin", s.o.MaxMessage>>20), resultRefused,
		}
	}
	return response, nil
}

// check receives, renders and verifies an application; outcome is nil where the
// answer is not.
func (s *service) check(ctx context.Context, stream plugin.Stream, share *share, r *record) *answer {
	began := time.Now()
	request, err := s.receive(ctx, stream, share, func(environ []string) { r.environ = environ })
	r.received = time.Since(began)
	if err != nil {
		return answerTo(ctx, err, &r.visit)
	}
	asked, err := argocd.ReadRequest(request.Environ)
	if err != nil {
		return answerTo(ctx, err, &r.visit)
	}
	g, err := s.engine.current()
	if err != nil {
		return answerTo(ctx, err, &r.visit)
	}
	r.source = asked.Project + "\x00" + variable(request.Environ, "ARGOCD_APP_SOURCE_REPO_URL")
	app := render.Application{Checkout: request.Checkout, Path: request.Path, Options: asked.Options}
	r.outcome, err = g.Check(withVisit(ctx, &r.visit), app, nil)
	if err != nil {
		return answerTo(ctx, err, &r.visit)
	}
	return nil
}

func (s *service) receive(ctx context.Context, stream plugin.Stream, share *share, metadata func([]string)) (*plugin.Request, error) {
	return plugin.Receive(ctx, stream, plugin.Reception{
		Limits:   s.o.Limits,
		Stall:    s.o.Stall,
		Metadata: metadata,
		Reserve:  func(n int64) error { return share.take(ctx, n) },
	})
}

// bounded is ctx with the time that a request has: what the caller gives, less
// a reserve in which the answer gets there, or the server's own maximum.
func (s *service) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	s.idle.enter()
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if ok {
		deadline = deadline.Add(-min(reserve, deadline.Sub(now)/10))
	} else {
		deadline = now.Add(s.o.MaxTime)
	}
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.stopping, func() { end(errStopping) })
	ctx, cancel := context.WithDeadline(ctx, deadline)
	return ctx, func() {
		stop()
		cancel()
		end(nil)
		s.idle.leave()
	}
}

// reserve is the time that is left to the way of an answer. Argo CD's own
// server leaves 100 ms, which a busy machine uses up.
const reserve = 2 * time.Second

// variable returns the last value of a variable.
func variable(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// log writes the line about a request, and counts it.
func (r *record) log(s *service, what string, began time.Time, refused *answer) {
	took := time.Since(began)
	result, level := resultPassed, slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("app", short(variable(r.environ, "ARGOCD_APP_NAME"))),
		slog.String("project", short(variable(r.environ, "ARGOCD_APP_PROJECT_NAME"))),
		slog.String("repo", short(withoutSecret(variable(r.environ, "ARGOCD_APP_SOURCE_REPO_URL")))),
		slog.String("path", short(variable(r.environ, "ARGOCD_APP_SOURCE_PATH"))),
		slog.String("revision", short(variable(r.environ, "ARGOCD_APP_REVISION"))),
	}
	if refused != nil {
		result, level = refused.result, slog.LevelWarn
		attrs = append(attrs, slog.String("code", refused.code.String()), slog.String("reason", fit(refused.text)))
	}
	attrs = append(attrs, slog.String("result", result))
	if r.outcome != nil {
		attrs = append(attrs, slog.Int("objects", len(r.outcome.Result.Manifests)), slog.Int("images", len(r.outcome.Report.Images)))
		var warnings []string
		for i, warning := range r.outcome.Report.Warnings {
			if i == maxLoggedWarnings {
				break
			}
			warnings = append(warnings, warning.String())
		}
		if len(warnings) > 0 {
			attrs = append(attrs, slog.Any("warnings", warnings))
		}
	}
	attrs = append(
		attrs,
		slog.Int64("receive_ms", r.received.Milliseconds()), slog.Int64("queue_ms", r.queued.Milliseconds()),
		slog.Int64("render_ms", r.rendered.Milliseconds()), slog.Int64("total_ms", took.Milliseconds()),
	)
	s.o.Log.LogAttrs(context.Background(), level, what, attrs...)
	if what == "generate" {
		s.metrics.generates.add(result)
		s.metrics.took.observe(took.Seconds(), result)
	}
}

const maxLoggedWarnings = 10

// short bounds a text from outside.
func short(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// withoutSecret is the address of a repository without what stands before its
// host.
func withoutSecret(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		_, after, ok := strings.Cut(address, "@")
		if ok {
			return after
		}
		return ""
	}
	u.User = nil
	u.RawQuery, u.Fragment = "", ""
	return cmp.Or(u.String(), "")
}
