// Argocd is those parts of Argo CD 2 that the tests run, in one program, as
// Argo CD ships them: what it is called decides which part it is. What a test
// does not need (the API server, its web interface, Dex, notifications,
// ApplicationSets) is left out, which saves a fifth of the build.
package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	controller "github.com/argoproj/argo-cd/v2/cmd/argocd-application-controller/commands"
	cmpserver "github.com/argoproj/argo-cd/v2/cmd/argocd-cmp-server/commands"
	askpass "github.com/argoproj/argo-cd/v2/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v2/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v2/cmpserver/apiclient"
	"github.com/argoproj/argo-cd/v2/util/app/discovery"
	"github.com/argoproj/argo-cd/v2/util/cmp"
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
	default:
		command = askpass.NewCommand()
	}
	_ = apiclient.ManifestResponse{}
	_ = discovery.DetectConfigManagementPlugin
	_ = cmp.SendRepoStream
	if command.Execute() != nil {
		os.Exit(1)
	}
}
