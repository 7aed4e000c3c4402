// Package audit answers who did what, when and from where in a service, and what was before and after, from the service's
// log: an event is the record, and nothing is noted twice.
//
// Only from where a request came is kept besides, by the request's correlation id: addresses are personal data, which no
// event holds, and are deleted after a time. Before and after are the aggregate as the domain folds it.
//
// A service mounts it in three steps: Migrate after the log's own migrations; Execute in place of service.Execute, which
// notes from where a command came in the command's transaction; Register with the folds of its aggregates. Forget belongs
// into its clean-up.
//
// Used by the app and api folders of services. Everything is safe for concurrent use.
package audit

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/service"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate makes the table and the indexes, or brings them up to date. The log's tables must be there.
func Migrate(ctx context.Context, db *postgres.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, files, "tollgate_audit_versions")
}

// Execute is service.Execute for commands whose origin is noted.
func Execute[R any](ctx context.Context, log *eventlog.Log, fn func(ctx context.Context, tx *eventlog.Tx) (R, error)) (R, error) {
	result, err := ExecuteResult(ctx, log, fn)
	return result.Value, err
}

// ExecuteResult is service.ExecuteResult for commands whose origin is noted.
func ExecuteResult[R any](ctx context.Context, log *eventlog.Log, fn func(ctx context.Context, tx *eventlog.Tx) (R, error)) (eventlog.Result[R], error) {
	return service.ExecuteResult(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (R, error) {
		value, err := fn(ctx, tx)
		if err == nil {
			err = record(ctx, tx)
		}
		return value, err
	})
}

// record notes from where the request of ctx came; nothing for what does not come from a client.
func record(ctx context.Context, tx *eventlog.Tx) error {
	caller, correlation := operation.CallerFrom(ctx), principal.CommandFrom(ctx).CorrelationID
	p, _ := principal.From(ctx)
	if caller.Address == "" || correlation == "" {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO audit_requests (correlation_id, tenant_id, actor, address, user_agent, recorded_at)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`, correlation, p.Tenant, p.Subject, caller.Address, caller.UserAgent, tx.Now())
	if err != nil {
		return fmt.Errorf("note from where a command came: %w", err)
	}
	return nil
}

// Forget deletes from where requests came that were recorded before a time, of every tenant.
func Forget(ctx context.Context, db *postgres.DB, before time.Time) error {
	err := db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM audit_requests WHERE recorded_at < $1`, before)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget from where requests came: %w", err)
	}
	return nil
}

// ForgetActor deletes from where requests of an actor of a tenant came, and returns their number.
func ForgetActor(ctx context.Context, tx pgx.Tx, tenant, actor string) (int, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM audit_requests WHERE actor = $2 AND tenant_id IN ($1, '*')`, tenant, actor)
	if err != nil {
		return 0, fmt.Errorf("forget from where %s acted: %w", actor, err)
	}
	return int(tag.RowsAffected()), nil
}
