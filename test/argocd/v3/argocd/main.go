// Argocd is those parts of Argo CD 3 that the tests run, in one program, as
// Argo CD ships them: what it is called decides which part it is. What no test
// needs (the API server, its web interface, Dex, notifications,
// ApplicationSets) is left out, which saves a fifth of the build.
//
// Called "client", it is the repo-server's own plugin client, see [answerAll].
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	cmpserver "github.com/argoproj/argo-cd/v3/cmd/argocd-cmp-server/commands"
	askpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
)

func main() {
	var command *cobra.Command
	switch filepath.Base(os.Args[0]) {
	case "argocd-application-controller":
		command = controller.NewCommand()
	case "argocd-repo-server":
		command = reposerver.NewCommand()
	case "argocd-cmp-server":
		command = cmpserver.NewCommand()
	case "client":
		if err := answerAll(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	default: // git asks it for passwords, under whatever name
		command = askpass.NewCommand()
	}
	if command.Execute() != nil {
		os.Exit(1)
	}
}
