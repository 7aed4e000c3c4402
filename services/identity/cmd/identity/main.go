// Command identity runs the identity service as a process of its own.
package main

import (
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/identity"
)

func main() {
	service.Main("identity", "Tenants, members, tokens, accounts, applications and credentials.",
		func(c identity.Config) service.Config { return c.Service }, identity.New)
}
