//go:build linux

package stack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Kube asks a kube-apiserver, as its administrator.
type Kube struct {
	base, token string
	client      *http.Client
}

func newKube(base string, certificate []byte, token string) (*Kube, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		return nil, errors.New("the certificate of kube-apiserver is not written yet")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16}
	return &Kube{base: base, token: token, client: &http.Client{Transport: transport}}, nil
}

// StatusError is a refusal of the kube-apiserver.
type StatusError struct {
	Code    int
	Message string
}

func (e *StatusError) Error() string { return fmt.Sprintf("kube-apiserver: %d: %s", e.Code, e.Message) }

// Missing reports whether an error says that an object does not exist.
func Missing(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// Do makes a request, with a body in JSON if there is one; a PATCH is a merge
// patch. The answer is read into an object unless that is nil. A refusal is a
// *[StatusError].
func (k *Kube) Do(ctx context.Context, method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, k.base+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+k.token)
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		var status struct{ Message string }
		if json.Unmarshal(text, &status) != nil {
			status.Message = string(text)
		}
		return &StatusError{Code: response.StatusCode, Message: status.Message}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// get succeeds if an address answers with success.
func get(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode/100 != 2 {
		return errors.New(response.Status)
	}
	return nil
}

// dial succeeds if somebody listens at a TCP address.
func dial(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
