package forge

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// place is where a pull request goes: from a branch of head into into.
type place struct {
	head, into repository
}

// repository is what a forge says of one.
type repository struct {
	id            int64 // GitLab
	path          string
	defaultBranch string
	private       bool
	archived      bool
	empty         bool
}

// pull is a pull request as it is.
type pull struct {
	number int
	url    string
	body   string
	base   string
}

// dialect is what the kinds of forge do not have in common.
type dialect interface {
	// place finds out where a pull request goes; into is [Options.Into].
	place(ctx context.Context, into string) (place, error)
	// open lists the open pull requests of a branch.
	open(ctx context.Context, p place, head string) ([]pull, error)
	create(ctx context.Context, p place, pr PullRequest) (pull, error)
	setBody(ctx context.Context, p place, number int, body string) error
	close(ctx context.Context, p place, number int) error
	// notYet reports whether a pull request could not be opened because the forge
	// has not seen the push yet.
	notYet(ctx context.Context, p place, head string, err error) bool
}

// settle are the pauses before it is asked again what a forge knows already: a
// push, or a pull request that somebody else is opening. Gitea takes about a
// second to see that a repository is no longer empty.
var settle = []time.Duration{time.Second / 4, time.Second / 2, time.Second, 2 * time.Second, 4 * time.Second}

// publish opens a pull request, or updates the one that is open.
func publish(ctx context.Context, c *client, into string, pr PullRequest) (Published, error) {
	var d dialect = &githubDialect{c}
	if c.site.kind == GitLab {
		d = &gitlabDialect{c}
	}
	p, err := d.place(ctx, into)
	if err != nil {
		return Published{}, err
	}
	if pr.Base == "" {
		pr.Base = p.into.defaultBranch
	}
	if pr.Base == "" {
		return Published{}, failure(ErrNothingToOpen, "%s has no default branch to merge into; push one first", p.into.path)
	}
	part := ourPart(c.site.kind, pr.Body)
	body, _, ok := mergeBody(c.site.kind, "", part)
	if !ok {
		return Published{}, failure(ErrRefused, "the description is longer than %s takes", kindName[c.site.kind])
	}
	pr.Body = body

	places := []place{p}
	if into == "" && p.into.path != p.head.path {
		places = append(places, place{head: p.head, into: p.head}) // one that somebody opened within the fork
	}
	for _, p := range places {
		found, err := find(ctx, c, d, p, pr)
		if err != nil {
			return Published{}, err
		}
		if found != nil {
			return update(ctx, c, d, p, *found, part)
		}
	}
	if pr.Base == pr.Head && p.head.path == p.into.path {
		return Published{}, failure(ErrNothingToOpen, "it is the branch that it would be merged into; push another one, or give another base")
	}
	return create(ctx, c, d, p, pr, part)
}

// create opens a pull request, and looks again before it tries a second time:
// what got no answer may have been done, and somebody else may have been faster.
func create(ctx context.Context, c *client, d dialect, p place, pr PullRequest, part string) (Published, error) {
	var err error
	for i := 0; ; i++ {
		var made pull
		made, err = d.create(ctx, p, pr)
		if err == nil {
			return settleRace(ctx, c, d, p, pr, made, part)
		}
		var unsure *unsureError
		exists := isStatus(err, http.StatusConflict) || isStatus(err, http.StatusUnprocessableEntity) && strings.Contains(err.Error(), "already exists")
		early := !errors.As(err, &unsure) && !exists && d.notYet(ctx, p, pr.Head, err)
		switch {
		case early && i == len(settle):
			return Published{}, failure(ErrRefused, "%s knows no branch %s of %s; push it, or run it again if it was pushed just now", c.site.host, pr.Head, p.head.path)
		case unsure == nil && !exists && !early, i == len(settle):
			return Published{}, c.explain(err, "open a pull request in", p.into.path)
		}
		if err := c.sleep(ctx, settle[i]); err != nil {
			return Published{}, err
		}
		found, lookErr := find(ctx, c, d, p, pr)
		if lookErr != nil {
			return Published{}, lookErr
		}
		if found == nil {
			continue
		}
		if unsure != nil && sameText(found.body, pr.Body) {
			return c.published(p, *found, Created), nil
		}
		return update(ctx, c, d, p, *found, part)
	}
}

// settleRace looks once more after a pull request was opened. A forge may look
// for another one and open one in two steps (Gitea 1.26: four opened at once were
// four), so of those that two of us opened at once, all but the oldest are closed.
// Whoever is last sees the others, so it does not matter who closes which.
func settleRace(ctx context.Context, c *client, d dialect, p place, pr PullRequest, made pull, part string) (Published, error) {
	open, err := d.open(ctx, p, pr.Head)
	if err != nil {
		return c.published(p, made, Created), nil //nolint:nilerr // there is one, whatever else there is
	}
	oldest := made
	for _, o := range open {
		if o.number > 0 && o.base == pr.Base && o.number < oldest.number {
			oldest = o
		}
	}
	for _, o := range open {
		if _, _, _, ours := splitBody(o.body); ours && o.base == pr.Base && o.number > oldest.number {
			if err := d.close(ctx, p, o.number); err != nil {
				return Published{}, c.explain(err, "close the second pull request of one branch in", p.into.path)
			}
		}
	}
	if oldest.number == made.number {
		return c.published(p, made, Created), nil
	}
	return update(ctx, c, d, p, oldest, part)
}

// find returns the open pull request of a branch: the one into pr's base, if
// there are several, else the oldest.
func find(ctx context.Context, c *client, d dialect, p place, pr PullRequest) (*pull, error) {
	open, err := d.open(ctx, p, pr.Head)
	if err != nil {
		return nil, c.explain(err, "list the pull requests of", p.into.path)
	}
	var best *pull
	for i, o := range open {
		switch {
		case o.number <= 0:
			continue
		case best == nil,
			o.base == pr.Base && best.base != pr.Base,
			(o.base == pr.Base) == (best.base == pr.Base) && o.number < best.number:
			best = &open[i]
		}
	}
	return best, nil
}

// update puts our part into an open pull request's description.
func update(ctx context.Context, c *client, d dialect, p place, found pull, part string) (Published, error) {
	body, changed, ok := mergeBody(c.site.kind, found.body, part)
	if !ok {
		return Published{}, failure(ErrRefused, "the description of #%d leaves no room for what was pinned: %s takes no longer one; shorten it", found.number, kindName[c.site.kind])
	}
	if !changed {
		return c.published(p, found, Unchanged), nil
	}
	if err := d.setBody(ctx, p, found.number, body); err != nil {
		return Published{}, c.explain(err, "change the pull request's description in", p.into.path)
	}
	return c.published(p, found, Updated), nil
}

// published is the result. An address that is none, or that would steer a
// terminal, is not the forge's, so it is put together here.
func (c *client) published(p place, found pull, action string) Published {
	where := found.url
	if !isPage(where) {
		where = c.site.pullURL(p.into.path, found.number)
	}
	return Published{URL: where, Number: found.number, Repository: p.into.path, Action: action}
}

// target chooses where a branch of own goes: see [Forge.Publish].
func target(own repository, parent *repository) repository {
	if parent == nil || parent.archived || own.private && !parent.private {
		return own
	}
	return *parent
}
