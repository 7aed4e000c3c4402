package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// DeleteEnded deletes what has ended before now, of every tenant: sessions that were not used after idleSince, invitations,
// password resets, revoked access tokens and rates that are full again.
func DeleteEnded(ctx context.Context, tx pgx.Tx, now, idleSince time.Time) error {
	if _, err := tx.Exec(ctx, `DELETE FROM sessions WHERE expires_at < $1 OR used_at < $2`, now, idleSince); err != nil {
		return wrap("delete sessions", err)
	}
	for _, statement := range []string{
		`DELETE FROM invitations WHERE expires_at < $1`, `DELETE FROM password_resets WHERE expires_at < $1`,
		`DELETE FROM revoked_tokens WHERE expires_at < $1`, `DELETE FROM sso_sign_ins WHERE expires_at < $1`, `DELETE FROM rate_limits WHERE full_at < $1`,
	} {
		// A minute later: clocks differ, and verification has a leeway.
		if _, err := tx.Exec(ctx, statement, now.Add(-time.Minute)); err != nil {
			return wrap("delete what has ended", err)
		}
	}
	return nil
}
