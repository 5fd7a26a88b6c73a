// Definitions of resources that other projects bring to a cluster: files in their modules.
module jadeshift.io/tests/cluster/definitions

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0 // indirect
	istio.io/api v1.32.0 // indirect
)
