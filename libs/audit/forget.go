package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// IdentityLog is the log that tells of members who are erased.
const IdentityLog = "identity"

// Forget deletes, of every tenant, from where requests came that were recorded before a time, or that are of an actor who is
// forgotten: their last signed token may have been good a few minutes longer than they were.
func Forget(ctx context.Context, db *postgres.DB, before time.Time) error {
	err := db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM audit_requests WHERE recorded_at < $1`, before); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM audit_requests r USING audit_forgotten f WHERE r.actor = f.actor AND r.tenant_id IN (f.tenant_id, '*')`)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget from where requests came: %w", err)
	}
	return nil
}

// ForgetActor deletes from where requests of an actor of a tenant came, and returns their number. What is recorded of them
// later is deleted by Forget.
func ForgetActor(ctx context.Context, tx pgx.Tx, tenant, actor string) (int, error) {
	_, err := tx.Exec(ctx, `INSERT INTO audit_forgotten (tenant_id, actor) VALUES ($1, $2) ON CONFLICT DO NOTHING`, tenant, actor)
	if err != nil {
		return 0, fmt.Errorf("forget from where %s acted: %w", actor, err)
	}
	tag, err := tx.Exec(ctx, `DELETE FROM audit_requests WHERE actor = $2 AND tenant_id IN ($1, '*')`, tenant, actor)
	if err != nil {
		return 0, fmt.Errorf("forget from where %s acted: %w", actor, err)
	}
	return int(tag.RowsAffected()), nil
}

// Forgetting is a handle of identity's log, or nil, that forgets from where members acted who are erased, in the follower's
// transaction.
func Forgetting(handle eventlog.Handle) eventlog.Handle {
	return func(ctx context.Context, tx pgx.Tx, e eventlog.Event) (err error) {
		if erased, ok := e.Payload.(*identityv1.MemberErased); ok {
			_, err = ForgetActor(ctx, tx, e.Tenant, "member:"+erased.GetMember())
		}
		if err != nil || handle == nil {
			return err
		}
		return handle(ctx, tx, e)
	}
}
