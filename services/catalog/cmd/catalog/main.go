// Command catalog runs the catalog service as a process of its own.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/catalog"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == catalog.InspectCommand {
		if err := catalog.Inspect(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	service.Main("catalog", "APIs, their versions, products and plans.",
		func(c catalog.Config) service.Config { return c.Service }, catalog.New)
}
