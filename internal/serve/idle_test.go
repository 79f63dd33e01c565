package serve

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestIdle: the call comes when nothing has been under way for a while, once,
// and not while something is.
func TestIdle(t *testing.T) {
	var calls atomic.Int64
	called := make(chan struct{}, 10)
	i := newIdle(20*time.Millisecond, func() { calls.Add(1); called <- struct{}{} })
	i.enter()
	i.enter()
	i.leave()
	time.Sleep(60 * time.Millisecond)
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls while a request was under way", n)
	}
	i.leave()
	<-called
	time.Sleep(60 * time.Millisecond)
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls after one stretch of work", n)
	}
	i.enter()
	i.leave()
	i.stop()
	time.Sleep(60 * time.Millisecond)
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls after the end", n)
	}
}
