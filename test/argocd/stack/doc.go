// Package stack runs the real Argo CD without containers: etcd, kube-apiserver,
// redis, the repo-server and the application controller as processes in
// namespaces of their own, with git repositories and a registry for them to
// read, and pin-cmp as their plugin.
//
// [Main] is a test binary's TestMain: it builds what is to run and starts the
// tests in the namespaces. [Start] starts Argo CD, [Stack.Sidecar] the plugin
// behind one of its [Fronts]. There is no kubelet and no kube-controller-manager:
// a Deployment is stored and never rolls out, so tests ask what is synced and
// what is stored, not what is healthy.
//
// Nothing outlives the tests: they are the first process of a process namespace,
// and when that ends, however it ends, the kernel kills the rest.
package stack
