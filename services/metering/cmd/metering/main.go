// Command metering runs the metering service as a process of its own.
package main

import (
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/metering"
)

func main() {
	service.Main("metering", "Usage ledger, quotas, leases, seals and gaps.",
		func(c metering.Config) service.Config { return c.Service }, metering.New)
}
