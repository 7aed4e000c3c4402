package clickhouse

import (
	"context"
	"errors"
	"fmt"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tollgate/tollgate/libs/principal"
)

// Keep changes how many days the calls of a tenant that are there are kept after their completion. It is one mutation, which
// ClickHouse carries out in the background; what is over is deleted by its merges.
func (t *Table) Keep(ctx context.Context, tenant string, days uint16) error {
	if tenant == "" || tenant == principal.AllTenants {
		return errors.New("change the retention: no tenant is given")
	}
	ctx = driver.Context(ctx, driver.WithSettings(driver.Settings{"mutations_sync": 0})) // as an embedded engine would wait
	err := t.exec(ctx, "ALTER TABLE calls UPDATE retention_days = {days:UInt16} WHERE tenant = {tenant:String} AND retention_days != {days:UInt16}",
		driver.Named("days", days), driver.Named("tenant", tenant))
	if err != nil {
		return fmt.Errorf("change the retention of a tenant's calls: %w", err)
	}
	return nil
}

// Keeping says whether a change of Keep, of any tenant, is not carried out yet.
func (t *Table) Keeping(ctx context.Context) (bool, error) {
	var n uint64
	err := t.conn.QueryRow(ctx, "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND table = 'calls' AND NOT is_done AND command LIKE '%UPDATE retention_days%'").Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look at the changes of the retention: %w", err)
	}
	return n > 0, nil
}
