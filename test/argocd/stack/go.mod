module github.com/pin-cmp/pin-cmp/test/argocd/stack

go 1.24.0
