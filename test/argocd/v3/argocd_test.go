// Package v3 drives pin-cmp with Argo CD 3.
package v3

import (
	"testing"

	"github.com/pin-cmp/pin-cmp/test/argocd/stack"
	"github.com/pin-cmp/pin-cmp/test/argocd/stack/contract"
	"github.com/pin-cmp/pin-cmp/test/argocd/stack/gate"
	"github.com/pin-cmp/pin-cmp/test/argocd/stack/install"
)

func TestMain(m *testing.M) {
	stack.Main(m, stack.ArgoCD{Module: "github.com/argoproj/argo-cd/v3", Version: "3.5.7", Kubernetes: "."})
}

func TestContract(t *testing.T) { contract.Test(t) }

func TestGate(t *testing.T) { gate.Test(t) }

func TestInstall(t *testing.T) { install.Test(t) }
