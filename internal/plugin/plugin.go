// Package plugin is the side of Argo CD's plugin protocol that a config
// management plugin speaks: the configuration that names it ([ReadConfig]), the
// socket at which argocd-repo-server finds it ([Listen]), and the stream in which
// an application's files arrive ([Receive]).
//
// The messages themselves are in package pluginpb.
package plugin

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is an answer that is no success: a gRPC code and a sentence. Argo CD
// stores the text in the Application, so it is the same for the same cause.
type Error struct {
	Code    codes.Code
	Message string
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// GRPCStatus is what gRPC sends for the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

func errorf(code codes.Code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}
