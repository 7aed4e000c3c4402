package testkit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/tollgate/tollgate/libs/engine"
)

// templateVersion changes when a template made by an older testkit can no longer be used.
const templateVersion = "1"

// postgresTemplate returns a data directory to copy: an empty cluster, made once for the installed engines and user.
func postgresTemplate(ctx context.Context, engines engine.Dir) (string, error) {
	stamp, err := engines.Stamp()
	if err != nil {
		return "", err
	}
	return cached(ctx, "postgres-"+templateVersion+"-"+digest(stamp, strconv.Itoa(os.Geteuid())), func(path string) error {
		// The cache may be where the engine's user cannot go: make it elsewhere.
		folder, remove, err := temporaryFolder()
		if err != nil {
			return err
		}
		data := filepath.Join(folder, "postgres")
		config := engine.PostgresConfig{Engines: engines, Data: data, Log: slog.New(slog.DiscardHandler), NoSync: true}
		if err := engine.InitPostgres(ctx, config); err != nil {
			return errors.Join(err, remove())
		}
		return errors.Join(copyTree(ctx, data, path), remove())
	})
}

func digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// cached returns the file or folder of that name in the user's cache, having make make it at the path it is given if it is not
// there. Test binaries that run at the same time wait for each other; one that is killed leaves nothing half made.
func cached(ctx context.Context, name string, make func(path string) error) (string, error) {
	base, err := cacheFolder()
	if err != nil {
		return "", err
	}
	unlock, err := lockFile(filepath.Join(base, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(base, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look into the cache for test data: %w", err)
	}
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	unfinished := path + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", fmt.Errorf("clean the cache for test data: %w", err)
	}
	if err := make(unfinished); err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return "", fmt.Errorf("fill the cache for test data: %w", err)
	}
	return path, nil
}

// cacheFolder is where testkit keeps what is made once.
func cacheFolder() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache for test data: %w", err)
	}
	base = filepath.Join(base, "tollgate-testkit")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("make the cache for test data: %w", err)
	}
	return base, nil
}

// lockFile waits until this process alone holds the lock.
func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the cache for test data: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the cache for test data: %w", err), file.Close())
	}
	// Closing gives the lock up; the file itself stays, others may be waiting for it.
	return func() { _ = file.Close() }, nil
}

// copyTree copies a folder with modes and owners.
func copyTree(ctx context.Context, from, to string) error {
	var output bytes.Buffer
	command := exec.CommandContext(ctx, "cp", "-a", from, to)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}
