package integration_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/bus"
)

// TestBackupAndRestore does what deploy/BACKUP.md says, step by step: a backup of everything under load; then PostgreSQL, ClickHouse,
// NATS and the gateways' disks are lost; then all is restored. What was answered until the backup is there and counted once,
// what came after it is gone everywhere, no call gets the identity of a lost one, and everything goes on.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	d := harness.StartDistributed(t, 1)
	api, key := publish(t, d, distributedResources)
	gateway := "http://" + d.Replicas["gateway"][0].Address
	kept, lost := &answeredCalls{ids: map[string]bool{}}, &answeredCalls{ids: map[string]bool{}}
	stop := loadAll(t, d, key, kept)
	wait(t, 2000, 3000)
	// Calls that are answered while the backup is being made may be in it or not.
	stop()
	during := &answeredCalls{ids: map[string]bool{}}
	stop = loadAll(t, d, key, during)
	b := backUp(t, d)
	stop()

	stop = loadAll(t, d, key, lost)
	var late struct{ ID, Key string }
	api.Must("POST", "/identity/v1/applications/acme-app/credentials", map[string]string{"title": "After the backup"}, &late)
	awaitStatus(t, gateway, late.Key, 200)
	wait(t, 1000, 2000)
	stop()
	require.Greater(t, lost.count(), 20)
	lose(t, d)
	restore(t, d, b)

	awaitStatus(t, gateway, key, 200)
	awaitStatus(t, gateway, late.Key, 401)
	after := &answeredCalls{ids: kept.ids}
	stop = loadAll(t, d, key, after)
	wait(t, 1000, 2000)
	stop()
	for id := range after.ids {
		require.False(t, lost.ids[id], "%s is the identity of a call that was answered before", id)
	}
	checkSettled(t, d, api, after)
}

// backup is where its parts are.
type backup struct{ dir string }

func (b backup) path(name string) string { return filepath.Join(b.dir, name) }

// backUp makes a backup while everything runs.
func backUp(t *testing.T, d *harness.Distributed) backup {
	t.Helper()
	b := backup{dir: harness.Dir(t)}
	// 1. Analytics waits, so that its database and ClickHouse tell of the same calls.
	for _, r := range d.Replicas["analytics"] {
		r.Stop(t)
	}
	clickhouse(t, d, "BACKUP DATABASE default TO File('backup')")
	copyAll(t, filepath.Join(d.Engines.Data, "clickhouse", "store", "backups", "backup"), b.path("clickhouse"))
	backUpPostgres(t, d, b)
	for _, r := range d.Replicas["analytics"] {
		r.Start(t)
	}
	// 2. The journals before the stream: a record is in the one or in the other.
	for _, g := range d.Replicas["gateway"] {
		copyAll(t, g.Data, b.path(filepath.Base(g.Data)))
	}
	harness.SnapshotStream(t, d.Engines.NATS, bus.CallsStream, b.path("calls"))
	return b
}

// backUpPostgres is a base backup of the whole cluster by the low-level API (PostgreSQL's documentation, 25.3.4), which is what
// pg_basebackup does.
func backUpPostgres(t *testing.T, d *harness.Distributed, b backup) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.Engines.Postgres)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `SELECT pg_backup_start('restore test', fast => true)`)
	require.NoError(t, err)
	data := filepath.Join(d.Engines.Data, "postgres")
	copyAll(t, data, b.path("postgres"))
	var label string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)`).Scan(&label))
	// The write-ahead log until the end of the backup, in place of an archive.
	copied := find(t, b.path("postgres"), "pg_wal")
	require.NoError(t, os.RemoveAll(copied))
	copyAll(t, find(t, data, "pg_wal"), copied)
	cluster := filepath.Dir(copied)
	require.NoError(t, os.Remove(filepath.Join(cluster, "postmaster.pid")))
	path := filepath.Join(cluster, "backup_label")
	require.NoError(t, os.WriteFile(path, []byte(label), 0o600))
	chown := exec.CommandContext(t.Context(), "chown", "--reference", filepath.Join(cluster, "PG_VERSION"), path)
	out, err := chown.CombinedOutput()
	require.NoError(t, err, string(out))
}

// lose ends every process and deletes what they kept.
func lose(t *testing.T, d *harness.Distributed) {
	t.Helper()
	for _, service := range harness.Services {
		for _, r := range d.Replicas[service] {
			r.Kill(t)
		}
	}
	d.Engines.Kill(t)
	for _, dir := range []string{"postgres", "nats", "clickhouse/store"} {
		require.NoError(t, os.RemoveAll(filepath.Join(d.Engines.Data, dir)))
	}
	for _, g := range d.Replicas["gateway"] {
		require.NoError(t, os.RemoveAll(g.Data))
	}
}

// restore puts everything back and starts it.
func restore(t *testing.T, d *harness.Distributed, b backup) {
	t.Helper()
	// 1. The engines.
	copyAll(t, b.path("postgres"), filepath.Join(d.Engines.Data, "postgres"))
	d.Engines.Restart(t)
	backups := filepath.Join(d.Engines.Data, "clickhouse", "store", "backups")
	require.NoError(t, os.MkdirAll(backups, 0o755))
	copyAll(t, b.path("clickhouse"), filepath.Join(backups, "backup"))
	clickhouse(t, d, "RESTORE DATABASE default FROM File('backup')")
	harness.RestoreStream(t, d.Engines.NATS, bus.CallsStream, b.path("calls"))
	// 2. Every service's log begins a new epoch.
	for _, service := range harness.Services[:6] {
		code, output := d.Maintain(t, service, "restored")
		require.Zero(t, code, output)
		require.Contains(t, output, "epoch 2 begins")
	}
	// 3. The gateways have their journals, and read their configuration anew.
	for _, g := range d.Replicas["gateway"] {
		copyAll(t, b.path(filepath.Base(g.Data)), g.Data)
		require.NoError(t, os.RemoveAll(filepath.Join(g.Data, "configuration")))
	}
	for _, service := range harness.Services {
		for _, r := range d.Replicas[service] {
			r.Start(t)
		}
	}
	d.AwaitReady(t)
}

// copyAll copies a directory with owners and times.
func copyAll(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput()
	// A file that a running server has removed meanwhile is no loss: see the low-level API.
	if err != nil && !strings.Contains(string(out), "No such file or directory") {
		require.NoError(t, err, string(out))
	}
}

// find returns the path of a directory below another.
func find(t *testing.T, below, name string) (path string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(below, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == name {
			path = p
			return filepath.SkipAll
		}
		return err
	}))
	require.NotEmpty(t, path, "%s has no %s", below, name)
	return path
}

// clickhouse executes a statement of the ClickHouse engine.
func clickhouse(t *testing.T, d *harness.Distributed, statement string) {
	t.Helper()
	response, err := http.Post(d.Engines.ClickHouse, "text/plain", strings.NewReader(statement))
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode, string(body))
}
