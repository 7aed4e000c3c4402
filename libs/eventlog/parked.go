package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// maxParkedError bounds the stored text of an error, in bytes.
const maxParkedError = 4000

// park passes over an event and sets it aside, in one transaction.
func (f *Follower) park(ctx context.Context, e received, cause error) error {
	if err := f.commit(ctx, []received{e}, cause); err != nil {
		return fmt.Errorf("park event %d: %w", e.Position, err)
	}
	f.config.Logger.Error("an event is parked", "position", e.Position, "type", e.Type, "error", cause)
	return nil
}

func (f *Follower) insertParked(ctx context.Context, tx pgx.Tx, e *received, cause error) error {
	tenant := e.Tenant
	if tenant == "" { // the envelope cannot be decoded
		tenant = principal.AllTenants
	}
	_, err := tx.Exec(ctx, `INSERT INTO parked_events (name, log, position, tenant_id, type, error, envelope)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name, log, position) DO UPDATE SET error = excluded.error, parked_at = now()`,
		f.config.Name, f.config.Follow, e.Position, tenant, e.Type, postgres.Text(cause.Error(), maxParkedError), e.envelope)
	return err
}

// ParkedEvent is an event that was passed over.
type ParkedEvent struct {
	Position uint64
	Tenant   string
	Type     string
	// Error is that of the last try.
	Error    string
	Attempts int
	ParkedAt time.Time
}

// maxParkedList bounds a list of parked events.
const maxParkedList = 1000

// Parked lists the events that are set aside, at most a thousand, in the order of positions.
func (f *Follower) Parked(ctx context.Context) ([]ParkedEvent, error) {
	var parked []ParkedEvent
	err := f.config.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT position, tenant_id, type, error, attempts, parked_at FROM parked_events
			WHERE name = $1 AND log = $2 ORDER BY position LIMIT $3`, f.config.Name, f.config.Follow, maxParkedList)
		if err != nil {
			return err
		}
		parked, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ParkedEvent])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the parked events of follower %s: %w", f.config.Name, err)
	}
	return parked, nil
}

// Replay applies a parked event, and forgets that it was parked, in one transaction. It comes after events that were
// later than it: the handler must bear that. When it fails again it stays parked, with the new error.
func (f *Follower) Replay(ctx context.Context, position uint64) error {
	var hooks commitHooks
	err := f.config.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error { return f.replay(ctx, tx, position, &hooks) })
	if err == nil {
		for _, hook := range hooks.hooks {
			hook()
		}
		return nil
	}
	err = fmt.Errorf("replay event %d of log %s: %w", position, f.config.Follow, err)
	if problem.KindOf(err) == problem.NotFound || transient(err) {
		return err
	}
	noted := f.config.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE parked_events SET error = $4, attempts = attempts + 1 WHERE name = $1 AND log = $2 AND position = $3`,
			f.config.Name, f.config.Follow, position, postgres.Text(err.Error(), maxParkedError))
		return err
	})
	return errors.Join(err, noted)
}

func (f *Follower) replay(ctx context.Context, tx pgx.Tx, position uint64, hooks *commitHooks) error {
	var envelope []byte
	err := tx.QueryRow(ctx, `DELETE FROM parked_events WHERE name = $1 AND log = $2 AND position = $3 RETURNING envelope`,
		f.config.Name, f.config.Follow, position).Scan(&envelope)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound("event-not-parked", "No event at position %d of log %s is parked by follower %s.",
			position, f.config.Follow, f.config.Name)
	}
	if err != nil {
		return err
	}
	e, err := unmarshal(envelope)
	if err == nil {
		err = e.decode()
	}
	if err != nil {
		return err
	}
	return f.handle(ctx, tx, hooks, e)
}
