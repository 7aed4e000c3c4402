// Package sample carries the weather sample in the binary: its resources, and an upstream that answers for its API.
package sample

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed weather
var files embed.FS

// Write puts the sample's files into a directory, which is made when it is not there.
func Write(dir string) error {
	return fs.WalkDir(files, "weather", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, path)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return fmt.Errorf("write the sample: %w", err)
		}
		return nil
	})
}
