module github.com/tollgate/tollgate/deploy/tollgate

go 1.26.0

require (
	github.com/tollgate/tollgate/libs v0.0.0
	github.com/tollgate/tollgate/proto v0.0.0
	github.com/tollgate/tollgate/services/identity v0.0.0
	github.com/tollgate/tollgate/services/catalog v0.0.0
	github.com/tollgate/tollgate/services/subscription v0.0.0
	github.com/tollgate/tollgate/services/metering v0.0.0
	github.com/tollgate/tollgate/services/analytics v0.0.0
	github.com/tollgate/tollgate/services/billing v0.0.0
	github.com/tollgate/tollgate/services/gateway v0.0.0
)

replace (
	github.com/tollgate/tollgate/libs => ../../libs
	github.com/tollgate/tollgate/proto => ../../proto
	github.com/tollgate/tollgate/services/identity => ../../services/identity
	github.com/tollgate/tollgate/services/catalog => ../../services/catalog
	github.com/tollgate/tollgate/services/subscription => ../../services/subscription
	github.com/tollgate/tollgate/services/metering => ../../services/metering
	github.com/tollgate/tollgate/services/analytics => ../../services/analytics
	github.com/tollgate/tollgate/services/billing => ../../services/billing
	github.com/tollgate/tollgate/services/gateway => ../../services/gateway
)
