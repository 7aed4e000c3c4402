// Command dashboards writes the dashboards of the installation as JSON into a folder, for Grafana's own provisioning from files.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tollgate/tollgate/dashboards"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dashboards FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	all, err := dashboards.Build(dashboards.Installation())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, d := range all {
		raw, err := d.JSON()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, d.Name+".json"), raw, 0o644); err != nil {
			return err
		}
	}
	return nil
}
