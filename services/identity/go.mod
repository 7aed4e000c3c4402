module github.com/tollgate/tollgate/services/identity

go 1.26.0

require (
	github.com/tollgate/tollgate/libs v0.0.0
	github.com/tollgate/tollgate/proto v0.0.0
)

replace (
	github.com/tollgate/tollgate/libs => ../../libs
	github.com/tollgate/tollgate/proto => ../../proto
)
