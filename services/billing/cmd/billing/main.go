// Command billing runs the billing service as a process of its own.
package main

import (
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/billing"
)

func main() {
	service.Main("billing", "Billing periods, billing runs and invoices that prove themselves.",
		func(c billing.Config) service.Config { return c.Service }, billing.New)
}
