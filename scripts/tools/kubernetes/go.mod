// Pins the Kubernetes schemas that deploy/helm is checked against: they are in this module's pkg/openapiclient/builtins. Nothing of it
// is built.
module github.com/tollgate/tollgate/scripts/tools/kubernetes

go 1.26.0

require sigs.k8s.io/kubectl-validate v0.0.4
