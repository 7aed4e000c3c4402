// Command catalog runs the catalog service as a process of its own.
package main

import (
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/catalog"
)

func main() {
	service.Main("catalog", "APIs, their versions, products and plans.",
		func(c catalog.Config) service.Config { return c.Service }, catalog.New)
}
