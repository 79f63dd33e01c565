package forge

import "strings"

// checked returns the pull request as it can be opened, or why it can't be.
func (pr PullRequest) checked() (PullRequest, error) {
	if pr.Head == "" {
		return pr, failure(ErrMisuse, "there is no branch to open a pull request of")
	}
	for _, branch := range []string{pr.Head, pr.Base} {
		if branch != "" && !branchName(branch) {
			return pr, failure(ErrMisuse, "%q is not the name of a branch", printable(branch))
		}
	}
	if pr.Title = oneTitle(pr.Title); pr.Title == "" {
		pr.Title = oneTitle(pr.Head)
	}
	return pr, nil
}

// branchName reports whether git would take name as a branch's
// (git-check-ref-format(1)): forges read more into some of what it does not.
func branchName(name string) bool {
	if strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.Contains(name, "..") || strings.Contains(name, "@{") ||
		strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") || name == "@" || strings.ToValidUTF8(name, "") != name {
		return false
	}
	for _, r := range name {
		if r < ' ' {
			return false
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}
