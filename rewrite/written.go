package rewrite

import (
	"context"
	"runtime"
	"slices"
	"strings"

	"github.com/pin-cmp/pin-cmp/internal/gitrepo"
)

// writtenAs returns, of those files of a tree that a checkout writes otherwise than
// git has them, how: by the attributes of the repository, and by what git is told
// on this machine about the ends of lines. A script with CRLF makes another image
// than one with LF, of the same commit.
//
// Git LFS is none of it: the object names the content there, too.
func writtenAs(ctx context.Context, repo *gitrepo.Repo, tree map[string]gitrepo.TreeEntry) (map[string]string, error) {
	var names []string
	for name, entry := range tree {
		if entry.Mode&0o170000 == 0o100000 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	config, err := repo.Config(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	all, err := repo.Attributes(ctx, names, "text", "crlf", "eol", "filter", "ident", "working-tree-encoding")
	if err != nil {
		return nil, err
	}
	written := map[string]string{}
	for i, name := range names {
		if how := conversion(all[i], config, runtime.GOOS); how != "" {
			written[name] = how
		}
	}
	return written, nil
}

// conversion is what gitattributes(5) says of a file. That a file of text=auto may
// be binary, and is left alone then, is not looked at: at worst it is built once
// more than it had to.
func conversion(attributes map[string]string, config gitrepo.Config, system string) string {
	value := func(name string) string {
		if v := attributes[name]; v != "unspecified" && v != "unset" {
			return v
		}
		return ""
	}
	var how []string
	if filter := value("filter"); filter != "" && filter != "lfs" && config.Get("filter."+filter+".smudge")+config.Get("filter."+filter+".process") != "" {
		how = append(how, "filter="+filter)
	}
	if value("ident") != "" {
		how = append(how, "ident")
	}
	if encoding := value("working-tree-encoding"); encoding != "" {
		how = append(how, "encoding="+encoding)
	}
	text, eol := value("text"), value("eol")
	binary := attributes["text"] == "unset" || attributes["crlf"] == "unset"
	if text == "" {
		text = value("crlf") // its old name
	}
	autoCRLF := config.Get("core.autocrlf")
	switch {
	case binary && eol == "" || eol == "lf" || autoCRLF == "input" && eol == "":
	case eol == "crlf",
		config.Bool("core.autocrlf"),
		text != "" && config.Get("core.eol") == "crlf",
		text != "" && system == "windows" && (config.Get("core.eol") == "" || config.Get("core.eol") == "native"):
		how = append(how, "eol=crlf")
	}
	return strings.Join(how, ",")
}
