package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// libs is the module the programs belong to.
const libs = "github.com/tollgate/tollgate/libs"

// buildProgram builds one of the programs that run beside a test, at a path the engines' user can reach. The go command builds it once: later it
// finds the program in the cache up to date.
func buildProgram(ctx context.Context, importPath, path string) error {
	base, err := cacheFolder()
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	unlock, err := lockFile(filepath.Join(base, name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	// The module of the test need not know what the program depends on; the program's own does.
	folder, err := runGo(ctx, "list", "-m", "-f", "{{.Dir}}", libs)
	if err != nil {
		return err
	}
	built := filepath.Join(base, name)
	if _, err := runGo(ctx, "build", "-C", folder, "-o", built, importPath); err != nil {
		return err
	}
	return copyFile(built, path)
}

func runGo(ctx context.Context, arguments ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, "go", arguments...)
	// As the programs are shipped.
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(arguments, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if _, err := io.Copy(target, source); err != nil {
		return errors.Join(fmt.Errorf("copy %s: %w", from, err), target.Close())
	}
	return target.Close()
}
