// Package audit answers who did what, when and from where in a service, and what was before and after, from the service's
// log: an event is the record, and nothing is noted twice.
//
// Only from where a request came is kept besides, by the request's correlation id: addresses are personal data, which no
// event holds, and are deleted after a time. Before and after are the aggregate as the domain folds it.
//
// libs/service mounts it: Migrate after the log's own migrations, Record in the transaction of every command, Register with
// the folds of the service's aggregates, Forget now and then, and Forgetting around whatever follows identity's log, so
// that every service forgets from where a member acted who is erased.
//
// Used by libs/service, and by services for their folds. Everything is safe for concurrent use.
package audit

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
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

// Record notes, in a command's transaction, from where the request of ctx came; nothing for what does not come from a client.
func Record(ctx context.Context, tx *eventlog.Tx) error {
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
