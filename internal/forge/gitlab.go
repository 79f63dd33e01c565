package forge

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// gitlabDialect is GitLab's REST API (docs.gitlab.com, "Merge requests API").
type gitlabDialect struct{ *client }

var _ dialect = (*gitlabDialect)(nil)

type gitlabProject struct {
	ID            int64  `json:"id"`
	Path          string `json:"path_with_namespace"`
	DefaultBranch string `json:"default_branch"`
	Visibility    string `json:"visibility"`
	Archived      bool   `json:"archived"`
	// DefaultTargetSelf is the fork's own setting: keep merge requests here.
	DefaultTargetSelf bool `json:"mr_default_target_self"`
	ForkedFrom        *struct {
		ID int64 `json:"id"`
	} `json:"forked_from_project"`
}

func (p gitlabProject) repository() repository {
	return repository{id: p.ID, path: p.Path, defaultBranch: p.DefaultBranch, private: p.Visibility != "public", archived: p.Archived}
}

type gitlabMergeRequest struct {
	IID           int    `json:"iid"`
	WebURL        string `json:"web_url"`
	Description   string `json:"description"`
	State         string `json:"state"`
	SourceBranch  string `json:"source_branch"`
	SourceProject int64  `json:"source_project_id"`
	TargetBranch  string `json:"target_branch"`
}

func (m gitlabMergeRequest) pull() pull {
	return pull{number: m.IID, url: m.WebURL, body: m.Description, base: m.TargetBranch}
}

// place implements [dialect].
func (d *gitlabDialect) place(ctx context.Context, into string) (place, error) {
	own, err := d.project(ctx, d.site.path)
	if err != nil {
		return place{}, d.explain(err, toSee, d.site.path)
	}
	head := own.repository()
	switch {
	case into != "":
		other, err := d.project(ctx, into)
		if err != nil {
			return place{}, d.explain(err, toSee, into)
		}
		return place{head: head, into: other.repository()}, nil
	case own.ForkedFrom != nil && !own.DefaultTargetSelf:
		parent, err := d.project(ctx, strconv.FormatInt(own.ForkedFrom.ID, 10))
		if isStatus(err, http.StatusNotFound, http.StatusForbidden) {
			break // not to be seen, so not to be merged into
		}
		if err != nil {
			return place{}, d.explain(err, "see the project that was forked to", d.site.path)
		}
		other := parent.repository()
		return place{head: head, into: target(head, &other)}, nil
	}
	return place{head: head, into: head}, nil
}

func (d *gitlabDialect) project(ctx context.Context, id string) (p gitlabProject, err error) {
	_, err = d.get(ctx, "projects/"+segment(id), nil, &p)
	if err == nil && (p.ID <= 0 || !repositoryPath(p.Path)) {
		err = failure(ErrUnreachable, "%s says of %s nothing that the API of GitLab would; is --forge-api right?", d.site.host, id)
	}
	return p, err
}

func mergeRequests(p repository) string {
	return "projects/" + strconv.FormatInt(p.id, 10) + "/merge_requests"
}

// open implements [dialect].
func (d *gitlabDialect) open(ctx context.Context, p place, head string) ([]pull, error) {
	query := url.Values{"state": {"opened"}, "source_branch": {head}, "per_page": {"100"}}
	var open []pull
	err := pages(ctx, d.client, mergeRequests(p.into), query, func(list []gitlabMergeRequest) bool {
		for _, m := range list {
			if m.State == "opened" && m.SourceBranch == head && m.SourceProject == p.head.id {
				open = append(open, m.pull())
			}
		}
		return true
	})
	return open, err
}

// create implements [dialect].
func (d *gitlabDialect) create(ctx context.Context, p place, pr PullRequest) (pull, error) {
	body := map[string]any{
		"title": pr.Title, "description": pr.Body, "source_branch": pr.Head, "target_branch": pr.Base, "target_project_id": p.into.id,
	}
	var made gitlabMergeRequest
	_, err := d.once(ctx, request{method: http.MethodPost, path: mergeRequests(p.head), body: body}, &made)
	if err == nil && made.IID <= 0 {
		err = &unsureError{failure(ErrUnreachable, "%s answers to a new merge request with something that is none", d.site.host)}
	}
	return made.pull(), err
}

// setBody implements [dialect].
func (d *gitlabDialect) setBody(ctx context.Context, p place, number int, body string) error {
	return d.put(ctx, p, number, map[string]string{"description": body})
}

// close implements [dialect].
func (d *gitlabDialect) close(ctx context.Context, p place, number int) error {
	return d.put(ctx, p, number, map[string]string{"state_event": "close"})
}

func (d *gitlabDialect) put(ctx context.Context, p place, number int, body map[string]string) error {
	var changed gitlabMergeRequest
	path := mergeRequests(p.into) + "/" + strconv.Itoa(number)
	_, err := d.repeat(ctx, request{method: http.MethodPut, path: path, body: body}, &changed)
	return err
}

// notYet implements [dialect]: GitLab names the branch that it does not know.
func (d *gitlabDialect) notYet(_ context.Context, _ place, _ string, err error) bool {
	var status *statusError
	return errors.As(err, &status) && (status.status == http.StatusBadRequest || status.status == http.StatusUnprocessableEntity) &&
		strings.Contains(strings.ToLower(status.message), "source branch") && strings.Contains(status.message, "does not exist")
}
