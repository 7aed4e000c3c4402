package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cluster is the part of a data directory that PostgreSQL owns, with what is needed to run it.
//
//	DATA/lock       held while the server runs
//	DATA/password   the superuser's, 0600
//	DATA/cluster/   PostgreSQL's own files
type cluster struct {
	config   PostgresConfig
	account  *account
	path     string
	password secret
	lock     *os.File
}

// InitPostgres makes the cluster in c.Data, unless it is there, without starting a server. StartPostgres does it by itself;
// this is for preparing a data directory to copy.
func InitPostgres(ctx context.Context, c PostgresConfig) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	cluster, err := openCluster(ctx, c)
	if err != nil {
		return fmt.Errorf("prepare PostgreSQL: %w", err)
	}
	return closeOnce(cluster.lock)
}

// openCluster locks the data directory and makes the cluster on first use.
func openCluster(ctx context.Context, config PostgresConfig) (_ *cluster, err error) {
	if config.Data, err = filepath.Abs(config.Data); err != nil {
		return nil, fmt.Errorf("resolve the data directory: %w", err)
	}
	c := &cluster{config: config, path: filepath.Join(config.Data, "cluster")}
	if c.account, err = unprivileged(); err != nil {
		return nil, err
	}
	if err := prepareFolder(config.Data); err != nil {
		return nil, err
	}
	for _, path := range []string{c.path, filepath.Join(config.Engines.postgres(), "bin", "postgres")} {
		if err := c.account.reaches(path); err != nil {
			return nil, err
		}
	}
	if c.lock, err = lock(ctx, config.Data); err != nil {
		return nil, err
	}
	if err := c.init(ctx); err != nil {
		return nil, errors.Join(err, closeOnce(c.lock))
	}
	return c, nil
}

// init makes the cluster if there is none. The cluster appears under its name when it is complete.
func (c *cluster) init(ctx context.Context) (err error) {
	keptPassword := filepath.Join(c.config.Data, "password")
	if _, err := os.Stat(c.path); err == nil {
		c.password, err = keptSecret(keptPassword)
		return err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the cluster: %w", err)
	}
	if c.password, err = newSecret(keptPassword); err != nil {
		return err
	}
	unfinished := c.path + ".unfinished"
	if err := errors.Join(os.RemoveAll(unfinished), os.Mkdir(unfinished, 0o700), c.account.own(unfinished)); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	if err := c.initdb(ctx, unfinished); err != nil {
		return err
	}
	if err := os.Rename(unfinished, c.path); err != nil {
		return fmt.Errorf("put the new cluster in its place: %w", err)
	}
	return nil
}

func (c *cluster) initdb(ctx context.Context, path string) error {
	// initdb reads the password from a file, as the account it runs as.
	passwordFile := path + ".password"
	if err := writeDurably(passwordFile, string(c.password)+"\n"); err != nil {
		return fmt.Errorf("hand the password to initdb: %w", err)
	}
	defer func() { _ = os.Remove(passwordFile) }()
	if err := c.account.own(passwordFile); err != nil {
		return err
	}
	command := c.command("initdb", "-D", path, "--username="+superuser, "--pwfile="+passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums")
	if c.config.NoSync {
		command.Args = append(command.Args, "--no-sync")
	}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: c.account.credential()}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := runWithin(ctx, command); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// runWithin runs the command to its end, or kills it when ctx is done first.
func runWithin(ctx context.Context, command *exec.Cmd) error {
	if err := command.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = command.Process.Kill() })
	defer stop()
	err := command.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// command prepares one of PostgreSQL's programs with nothing of the parent's environment.
func (c *cluster) command(program string, arguments ...string) *exec.Cmd {
	native := c.config.Engines.postgres()
	command := exec.Command(filepath.Join(native, "bin", program), arguments...)
	command.Dir = "/"
	command.Env = []string{
		"LD_LIBRARY_PATH=" + filepath.Join(native, "lib"),
		"PATH=/usr/bin:/bin", // initdb and popen need a shell
		"LC_ALL=C.UTF-8",
	}
	return command
}

// removeStaleLock makes way for a new server: it waits for the last one to end, and removes the lock file of one that was
// killed when its process id belongs to another program now, which PostgreSQL itself would take for a running server.
func (c *cluster) removeStaleLock(ctx context.Context) error {
	deadline := time.Now().Add(lockWait)
	for {
		pid, err := c.lockedBy()
		if err != nil || pid == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return &finalError{fmt.Errorf("%s is in use by the PostgreSQL server with process id %d: stop it first", c.path, pid)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollReady):
		}
	}
}

// lockedBy returns the process id of the server that still runs on this cluster, or 0. A lock file without such a server is
// removed.
func (c *cluster) lockedBy() (int, error) {
	lines, err := c.lockFile()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read PostgreSQL's lock file: %w", err)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(lines[0])); err == nil && isPostgres(pid) {
		return pid, nil
	}
	if err := os.Remove(filepath.Join(c.path, "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("remove the stale lock file: %w", err)
	}
	return 0, nil
}

// isPostgres reports whether the process runs and is a PostgreSQL server. Where the system does not tell what a process is,
// a running one counts.
func isPostgres(pid int) bool {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		_, statErr := os.Stat("/proc/self/comm")
		return statErr != nil
	}
	return strings.TrimSpace(string(name)) == "postgres"
}
