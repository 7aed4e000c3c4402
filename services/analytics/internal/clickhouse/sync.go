package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tollgate/tollgate/libs/problem"
)

// syncStatement has every replica of a cluster fetch what the others have of the table calls; it is empty without a cluster. LIGHTWEIGHT
// leaves merges and mutations aside.
func syncStatement(cluster, database string) string {
	if cluster == "" {
		return ""
	}
	if database == "" {
		database = "default"
	}
	quoted := "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(database) + "`"
	return "SYSTEM SYNC REPLICA ON CLUSTER '" + cluster + "' " + quoted + ".calls LIGHTWEIGHT"
}

// await makes what is read next complete, whichever replica answers: an insert is acknowledged by most of them, so that one may lag
// behind. A replica that is down is not waited for: it does not answer either.
func (t *Table) await(ctx context.Context) error {
	if t.sync == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = driver.Context(ctx, driver.WithSettings(driver.Settings{"distributed_ddl_output_mode": "throw_only_active"}))
	err := t.conn.Exec(ctx, t.sync)
	if err == nil {
		return nil
	}
	if exception := (*driver.Exception)(nil); errors.As(err, &exception) {
		return fmt.Errorf("wait for the replicas: %w", err)
	}
	return problem.NewUnavailable("clickhouse-unavailable", "The replicas of ClickHouse do not catch up. Try again later.").Wrap(err)
}
