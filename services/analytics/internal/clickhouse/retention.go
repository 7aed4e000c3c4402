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
	err := t.exec(ctx, "ALTER TABLE calls UPDATE retention_days = {days:UInt16} WHERE tenant = {tenant:String} AND retention_days != {days:UInt16}",
		driver.Named("days", days), driver.Named("tenant", tenant))
	if err != nil {
		return fmt.Errorf("change the retention of a tenant's calls: %w", err)
	}
	return nil
}
