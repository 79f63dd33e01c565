package forge

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"
)

func TestThrottled(t *testing.T) {
	date := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	reset := func(d time.Duration) string { return strconv.FormatInt(date.Add(d).Unix(), 10) }
	primary := object{"message": "API rate limit exceeded for user ID 1."}
	secondary := object{"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
	for _, tt := range []struct {
		name   string
		status int
		header map[string]string
		body   any
		waits  []time.Duration // nil: refused at once
	}{
		{"primary, soon over", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset(20 * time.Second)}, primary, []time.Duration{20 * time.Second}},
		{"primary as 429", 429, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset(5 * time.Second)}, primary, []time.Duration{5 * time.Second}},
		{"primary, over by now", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset(-time.Hour)}, primary, []time.Duration{time.Second}},
		{"primary, for long", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset(time.Hour)}, primary, nil},
		{"secondary with seconds", 403, map[string]string{"Retry-After": "30", "X-RateLimit-Remaining": "4000"}, secondary, []time.Duration{30 * time.Second}},
		{"secondary with a date", 429, map[string]string{"Retry-After": date.Add(7 * time.Second).Format(http.TimeFormat)}, secondary, []time.Duration{7 * time.Second}},
		{"secondary, for long", 429, map[string]string{"Retry-After": "3600"}, secondary, nil},
		{"secondary, of a length that overflows", 429, map[string]string{"Retry-After": "9223372036854775807"}, secondary, nil},
		{"secondary without a word of when", 403, nil, secondary, []time.Duration{time.Minute}},
		{"429 and nothing else", 429, nil, nil, []time.Duration{time.Minute}},
		{"nonsense", 429, map[string]string{"Retry-After": "soon", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "x"}, primary, []time.Duration{time.Minute}},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				s, c := newStandin(GitHub), &clock{}
				once := false
				s.intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if once || r.Method != method {
						return false
					}
					once = true
					w.Header().Set("Date", date.Format(http.TimeFormat))
					for name, value := range tt.header {
						w.Header().Set(name, value)
					}
					reply(w, tt.status, tt.body)
					return true
				}
				got, err := publishAt(t, s, c, feature)
				if !slices.Equal(c.slept, tt.waits) {
					t.Errorf("waited %v, want %v", c.slept, tt.waits)
				}
				if tt.waits == nil {
					want := "pull request of pin/web: github.com takes no more requests from GITHUB_TOKEN for now; the branch is pushed, so run it again later"
					if !errors.Is(err, ErrThrottled) || err.Error() != want {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil || got.Action != Created || len(s.pulls) != 1 {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		}
	}
}

// A forge that always asks for a little more gets a minute, and no more.
func TestThrottledForEver(t *testing.T) {
	s, c := newStandin(GitHub), &clock{}
	s.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "25")
		reply(w, 429, nil)
		return true
	}
	_, err := publishAt(t, s, c, feature)
	if !errors.Is(err, ErrThrottled) || len(c.slept) != 2 {
		t.Errorf("got %v after %v", err, c.slept)
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	s := newStandin(GitHub)
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(context.Background())
	s.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "50")
		reply(w, 429, nil)
		cancel(cause)
		return true
	}
	f, err := Open(ctx, host[GitHub].remote, Options{HTTP: internet{"https://api.github.com": s}, Environ: []string{"GH_TOKEN=s3cret-token"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Publish(ctx, feature); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}
