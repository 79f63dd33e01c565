package forge

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// githubDialect is GitHub's REST API (docs.github.com, "REST API endpoints for
// pull requests"), which Gitea and Forgejo have taken over but for what is said
// here.
type githubDialect struct{ *client }

var _ dialect = (*githubDialect)(nil)

type githubRepository struct {
	FullName      string            `json:"full_name"`
	DefaultBranch string            `json:"default_branch"`
	Private       bool              `json:"private"`
	Archived      bool              `json:"archived"`
	Fork          bool              `json:"fork"`
	Empty         bool              `json:"empty"` // Gitea
	Parent        *githubRepository `json:"parent"`
}

func (r *githubRepository) repository() repository {
	return repository{path: r.FullName, defaultBranch: r.DefaultBranch, private: r.Private, archived: r.Archived, empty: r.Empty}
}

type githubPull struct {
	Number  int    `json:"number"`
	HTMLURL string `json:"html_url"`
	Body    string `json:"body"`
	State   string `json:"state"`
	Base    struct {
		Ref string `json:"ref"`
	} `json:"base"`
	Head struct {
		Ref  string `json:"ref"`
		Repo *struct {
			FullName string `json:"full_name"`
		} `json:"repo"`
	} `json:"head"`
}

func (p githubPull) pull() pull {
	return pull{number: p.Number, url: p.HTMLURL, body: p.Body, base: p.Base.Ref}
}

// place implements [dialect]. The names are taken from the answer: GitHub
// redirects from those that a repository had before.
func (d *githubDialect) place(ctx context.Context, into string) (place, error) {
	own, err := d.repository(ctx, d.site.path)
	if err != nil {
		return place{}, err
	}
	head := own.repository()
	switch {
	case into != "":
		other, err := d.repository(ctx, into)
		if err != nil {
			return place{}, err
		}
		return place{head: head, into: other.repository()}, nil
	case own.Fork && own.Parent != nil && repositoryPath(own.Parent.FullName):
		parent := own.Parent.repository()
		return place{head: head, into: target(head, &parent)}, nil
	}
	return place{head: head, into: head}, nil
}

// repository asks for a repository, and waits for a Gitea that has not seen the
// first push to it yet.
func (d *githubDialect) repository(ctx context.Context, path string) (r githubRepository, err error) {
	for i := 0; ; i++ {
		r = githubRepository{}
		if _, err := d.get(ctx, "repos/"+escapePath(path), nil, &r); err != nil {
			return r, d.explain(err, toSee, path)
		}
		if !repositoryPath(r.FullName) {
			return r, failure(ErrUnreachable, "%s says of %s nothing that the API of %s would; is --forge-api right?", d.site.host, path, kindName[d.site.kind])
		}
		if !r.Empty || i == len(settle) {
			return r, nil
		}
		if err := d.sleep(ctx, settle[i]); err != nil {
			return r, err
		}
	}
}

// open implements [dialect]. GitHub's filter by head is dropped in silence if it
// does not like it, and Gitea has none, so what comes is looked at.
func (d *githubDialect) open(ctx context.Context, p place, head string) ([]pull, error) {
	owner, _, _ := strings.Cut(p.head.path, "/")
	query := url.Values{"state": {"open"}}
	if d.site.kind == GitHub {
		query.Set("head", owner+":"+head)
		query.Set("per_page", "100")
	} else {
		query.Set("limit", "50")
	}
	var open []pull
	err := pages(ctx, d.client, "repos/"+escapePath(p.into.path)+"/pulls", query, func(list []githubPull) bool {
		for _, l := range list {
			if l.State == "open" && l.Head.Ref == head && l.Head.Repo != nil && strings.EqualFold(l.Head.Repo.FullName, p.head.path) {
				open = append(open, l.pull())
			}
		}
		return true
	})
	return open, err
}

// create implements [dialect]. Of a fork, the owner alone does not always say
// which of its repositories it is: GitHub wants its name beside it then, and Gitea
// within the head, which Forgejo and older versions do not know.
func (d *githubDialect) create(ctx context.Context, p place, pr PullRequest) (pull, error) {
	body := map[string]string{"title": pr.Title, "body": pr.Body, "head": pr.Head, "base": pr.Base}
	if p.head.path == p.into.path {
		return d.post(ctx, p, pr, body)
	}
	owner, name, _ := strings.Cut(p.head.path, "/")
	body["head"] = owner + ":" + pr.Head
	if d.site.kind == GitHub {
		if strings.HasPrefix(p.into.path, owner+"/") {
			body["head_repo"] = name
		}
		return d.post(ctx, p, pr, body)
	}
	whole := maps.Clone(body)
	whole["head"] = p.head.path + ":" + pr.Head
	made, err := d.post(ctx, p, pr, whole)
	if isStatus(err, http.StatusNotFound) && !d.notYet(ctx, p, pr.Head, err) {
		return d.post(ctx, p, pr, body)
	}
	return made, err
}

func (d *githubDialect) post(ctx context.Context, p place, pr PullRequest, body map[string]string) (pull, error) {
	var made githubPull
	_, err := d.once(ctx, request{method: http.MethodPost, path: "repos/" + escapePath(p.into.path) + "/pulls", body: body}, &made)
	if err == nil && made.Number <= 0 {
		err = &unsureError{failure(ErrUnreachable, "%s answers to a new pull request with something that is none", d.site.host)}
	}
	switch {
	case isStatus(err, http.StatusUnprocessableEntity) && (strings.Contains(err.Error(), "No commits between") || strings.Contains(err.Error(), "no changes between")):
		return pull{}, failure(ErrNothingToOpen, "it holds no commits that %s of %s has not", pr.Base, p.into.path)
	case isStatus(err, http.StatusUnprocessableEntity) && strings.Contains(err.Error(), "base is invalid"),
		isStatus(err, http.StatusNotFound) && d.site.kind == Gitea && d.lacks(ctx, p.into, pr.Base):
		return pull{}, failure(ErrRefused, "%s has no branch %s to merge it into", p.into.path, pr.Base)
	}
	return made.pull(), err
}

// setBody implements [dialect].
func (d *githubDialect) setBody(ctx context.Context, p place, number int, body string) error {
	return d.patch(ctx, p, number, map[string]string{"body": body})
}

// close implements [dialect].
func (d *githubDialect) close(ctx context.Context, p place, number int) error {
	return d.patch(ctx, p, number, map[string]string{"state": "closed"})
}

func (d *githubDialect) patch(ctx context.Context, p place, number int, body map[string]string) error {
	path := "repos/" + escapePath(p.into.path) + "/pulls/" + strconv.Itoa(number)
	var changed githubPull
	_, err := d.repeat(ctx, request{method: http.MethodPatch, path: path, body: body}, &changed)
	return err
}

// notYet implements [dialect]. GitHub says of a branch that has not reached the
// server asked that the field head is invalid; Gitea says 404, as it does to who
// may not see a repository, so it is asked for the branch.
func (d *githubDialect) notYet(ctx context.Context, p place, head string, err error) bool {
	switch {
	case isStatus(err, http.StatusUnprocessableEntity):
		return strings.Contains(err.Error(), "head is invalid") || strings.Contains(err.Error(), "Head sha can't be blank")
	case isStatus(err, http.StatusNotFound) && d.site.kind == Gitea:
		return d.lacks(ctx, p.head, head)
	}
	return false
}

// lacks reports whether a repository has no branch of this name, as far as the
// forge knows by now.
func (d *githubDialect) lacks(ctx context.Context, r repository, branch string) bool {
	var there struct {
		Name string `json:"name"`
	}
	_, err := d.get(ctx, "repos/"+escapePath(r.path)+"/branches/"+segment(branch), nil, &there)
	return isStatus(err, http.StatusNotFound)
}

func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = segment(part)
	}
	return strings.Join(parts, "/")
}
