//go:build linux

package stack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack/client"
)

// Client is a running client program of the stack's Argo CD.
type Client struct {
	calls   *json.Encoder
	mu      sync.Mutex
	next    int
	waiting map[int]chan client.Answer
	ended   chan struct{}
	stderr  bytes.Buffer
}

// StartClient starts one.
func (s *Stack) StartClient(t *testing.T) *Client {
	t.Helper()
	c := &Client{waiting: map[int]chan client.Answer{}, ended: make(chan struct{})}
	cmd := exec.Command(s.ArgoCD)
	cmd.Args[0] = "client"
	cmd.Env = s.env()
	cmd.Stderr = &c.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.calls = json.NewEncoder(in)
	go func() {
		defer close(c.ended)
		answers := json.NewDecoder(bufio.NewReader(out))
		for {
			var a client.Answer
			if answers.Decode(&a) != nil {
				return
			}
			c.mu.Lock()
			waiting := c.waiting[a.ID]
			delete(c.waiting, a.ID)
			c.mu.Unlock()
			waiting <- a
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.ended
		_ = cmd.Wait()
	})
	return c
}

// Ask makes a call and waits for the answer, which comes at the latest at the
// call's deadline: half a minute, if it has none. Tests may ask from several
// goroutines.
func (c *Client) Ask(t *testing.T, call client.Call) client.Answer {
	t.Helper()
	a, err := c.ask(call)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (c *Client) ask(call client.Call) (client.Answer, error) {
	if call.Deadline == 0 {
		call.Deadline = 30 * time.Second
	}
	answer := make(chan client.Answer, 1)
	c.mu.Lock()
	c.next++
	call.ID = c.next
	c.waiting[call.ID] = answer
	err := c.calls.Encode(call)
	c.mu.Unlock()
	if err != nil {
		return client.Answer{}, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-c.ended:
		return client.Answer{}, fmt.Errorf("the client program ended: %s", c.stderr.String())
	}
}
