package presence

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// fault is one attempt that brought no usable answer.
type fault struct {
	verdict Verdict // Throttled or Unreachable
	reason  string
	// tries bounds the attempts that this kind of fault is worth; 0 means as
	// many as the time allows.
	tries int
	// wait is what the registry asked for in Retry-After; 0 where it didn't.
	wait time.Duration
	// answered is true where the host is up and it is this request that failed.
	answered bool
}

// outage is a fault that outlived its retries. It travels through
// go-containerregistry as an error, so that no layer on the way can take it
// for an answer of the registry.
type outage struct {
	fault
	// deadline is when the budget of the request that failed ends. A caller
	// with more time left tries again on its own account.
	deadline time.Time
}

func (o *outage) Error() string { return o.reason }

// Reasons that more than one place gives.
const (
	reasonNoAnswer  = "no answer in time"
	reasonThrottled = "the registry answered 429 too many requests"
	reasonWrongBody = "the registry sent a manifest that doesn't match its digest"
)

// maxBody bounds an answer held in memory. The distribution specification asks
// registries to take manifests up to 4 MiB.
const maxBody = 8 << 20

var (
	errTooLarge  = errors.New("answer larger than 8 MiB")
	errRedirects = errors.New("too many redirects")
	errDowngrade = errors.New("redirected from https to http")
)

// serverFault returns the fault that a status stands for, and whether it is
// one at all. The statuses are those that go-containerregistry retries
// (pkg/v1/remote/options.go, defaultRetryStatusCodes): 499 is nginx's "client
// closed request", 522 Cloudflare's "connection timed out".
func serverFault(resp *http.Response, now time.Time) (fault, bool) {
	wait := retryAfter(resp.Header.Get("Retry-After"), now)
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return fault{verdict: Throttled, reason: reasonThrottled, wait: wait, answered: true}, true
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 522:
		return fault{
			verdict: Unreachable, reason: fmt.Sprintf("server error %d", resp.StatusCode),
			wait: wait, answered: true,
		}, true
	}
	return fault{}, false
}

// retryAfter reads both forms of the header: seconds and an HTTP date. What it
// can't read is 0.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	var seconds int64
	if isDigits(header) {
		// Ten digits are 300 years; more would overflow a Duration.
		if len(header) > 9 {
			header = "999999999"
		}
		for _, c := range header {
			seconds = seconds*10 + int64(c-'0')
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// networkFault puts a failed exchange into words that are the same every time:
// Go's own texts hold ephemeral ports, addresses and the current time.
func networkFault(err error) fault {
	f := fault{verdict: Unreachable}
	var dns *net.DNSError
	var op *net.OpError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errRedirects):
		f.reason, f.tries = "redirected without end", 1
	case errors.Is(err, errDowngrade):
		f.reason, f.tries = "redirected from https to http", 1
	case errors.Is(err, errTooLarge):
		f.reason, f.tries = errTooLarge.Error(), 1
	case untrusted(err) != "":
		f.reason, f.tries = "TLS certificate is not trusted: "+untrusted(err), 1
	case errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record):
		f.reason, f.tries = "the registry speaks plain http, which the policy doesn't allow for it", 1
	case errors.As(err, &dns) && dns.IsNotFound:
		// A name server that is starting answers so too, hence more than one try.
		f.reason, f.tries = "no such host", 3
	case errors.As(err, &dns):
		f.reason = "the name lookup failed"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		// crypto/tls marks an alert, sent or received, like this (conn.go); its
		// text is the protocol's own.
		f.reason, f.tries = "TLS handshake failed: "+op.Err.Error(), 3
	case errors.Is(err, syscall.ECONNREFUSED):
		f.reason = "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		f.reason = "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		f.reason = "no route to the host"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.reason = reasonNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		f.reason = "the connection ended before the answer did"
	default:
		f.reason = "the answer is not what the protocol allows"
	}
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		f.reason = "through the proxy: " + f.reason
	}
	return f
}

// untrusted says what is wrong with a certificate, or "".
func untrusted(err error) string {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		// The library's text holds the current time.
		return "x509: certificate has expired or is not yet valid"
	}
	var authority x509.UnknownAuthorityError
	if errors.As(err, &authority) {
		return "x509: certificate signed by unknown authority"
	}
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) {
		return verification.Err.Error()
	}
	return ""
}
