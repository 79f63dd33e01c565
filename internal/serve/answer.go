package serve

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pin-cmp/pin-cmp/internal/argocd"
	"github.com/pin-cmp/pin-cmp/internal/gate"
	"github.com/pin-cmp/pin-cmp/internal/plugin"
	"github.com/pin-cmp/pin-cmp/verify"
	"github.com/pin-cmp/pin-cmp/verify/presence"
)

// What became of a request, in metrics and logs.
const (
	resultPassed        = "passed"
	resultRefused       = "refused"
	resultUndecided     = "undecided"
	resultInvalid       = "invalid"       // the request itself is wrong
	resultMisconfigured = "misconfigured" // the sidecar is
	resultCancelled     = "cancelled"     // the caller went away
	resultFailed        = "failed"        // a bug
)

// errStopping is why requests end when the server does.
var errStopping = errors.New("the plugin is being stopped")

const again = "this says nothing about the application; hard-refresh it"

// answer is what a request that is no success gets.
type answer struct {
	code   codes.Code
	text   string
	result string
}

// err is the answer as gRPC sends it. The text is that of generate on stderr.
func (a *answer) err() error {
	return status.Error(a.code, fit("pin-cmp: "+a.text))
}

// fit cuts a text that is longer than Argo CD should store.
func fit(text string) string {
	const more = "…"
	text = strings.ToValidUTF8(text, "�")
	if len(text) <= verify.MaxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:verify.MaxMessage-len(more)], "") + more
}

// refusal is the answer for a report that is no pass.
func refusal(report *verify.Report) *answer {
	if report.ExitCode() == verify.ExitUndecided {
		return &answer{codes.Unavailable, report.Message(), resultUndecided}
	}
	return &answer{codes.FailedPrecondition, report.Message(), resultRefused}
}

// answerTo is the answer for an error of a request that ran under ctx.
func answerTo(ctx context.Context, err error, v *visit) *answer {
	text := verify.Printable(err.Error())
	var protocol *plugin.Error
	var parameter *argocd.ParameterError
	var policy *verify.PolicyError
	var config *presence.ConfigError
	switch {
	case errors.As(err, &protocol):
		return &answer{protocol.Code, text, resultInvalid}
	case errors.As(err, &parameter):
		return &answer{codes.InvalidArgument, text, resultInvalid}
	case errors.As(err, &policy), errors.As(err, &config):
		return &answer{codes.FailedPrecondition, text, resultMisconfigured}
	case errors.Is(err, errFull):
		return &answer{codes.ResourceExhausted, text + "; " + again, resultUndecided}
	case errors.Is(context.Cause(ctx), errStopping):
		return &answer{codes.Unavailable, errStopping.Error() + "; " + again, resultUndecided}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return &answer{codes.Canceled, "the request was cancelled", resultCancelled}
	case errors.Is(err, context.DeadlineExceeded):
		text := "the repository did not arrive in time"
		switch {
		case v.turn:
			text = "the render did not end in time"
		case v.queued > 0:
			text = "the time was up before it was the application's turn: too many are rendered at once"
		}
		return &answer{codes.DeadlineExceeded, text + "; " + again, resultUndecided}
	}
	text = "could not render the application: " + text
	if gate.Undecided(err) {
		return &answer{codes.Internal, text + "; " + again, resultUndecided}
	}
	return &answer{codes.FailedPrecondition, text, resultRefused}
}
