// Command analytics runs the analytics service as a process of its own.
package main

import (
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/analytics"
)

func main() {
	service.Main("analytics", "Every call in ClickHouse, the request log and reconciliation.",
		func(c analytics.Config) service.Config { return c.Service }, analytics.New)
}
