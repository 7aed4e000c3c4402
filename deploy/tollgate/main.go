// Command tollgate is the one binary for people: it runs the whole suite on embedded engines (up), and is the command line
// of the management API (apply, diff, export, get, bill, reconcile, calls, invoices) and of offline rating (rate).
package main

import (
	"os"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdout, os.Stderr, os.LookupEnv))
}
