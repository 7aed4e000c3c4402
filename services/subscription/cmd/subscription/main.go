// Command subscription runs the subscription service as a process of its own.
package main

import (
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/subscription"
)

func main() {
	service.Main("subscription", "Subscriptions of applications to products, and what they entitle to.",
		func(c subscription.Config) service.Config { return c.Service }, subscription.New)
}
