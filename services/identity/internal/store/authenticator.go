package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// SignIn is a member with what they sign in with.
type SignIn struct {
	Tenant     string `db:"tenant_id"`
	TenantName string `db:"tenant_name"`
	Member     string `db:"id"`
	Name       string `db:"display_name"`
	Email      string `db:"email"`
	Password   string `db:"password"`
	TOTP       []byte `db:"totp"`
	// TOTPConfirmed says that the second factor is asked for; one that is not confirmed is none yet.
	TOTPConfirmed bool `db:"totp_confirmed"`
}

const signInQuery = `SELECT m.tenant_id, t.name AS tenant_name, m.id, m.display_name, m.email, coalesce(a.password, '') AS password,
	a.totp, coalesce(a.totp_confirmed, false) AS totp_confirmed
	FROM members m JOIN tenants t ON t.tenant_id = m.tenant_id LEFT JOIN authenticators a ON a.member_id = m.id
	WHERE NOT m.removed AND NOT EXISTS (SELECT FROM accounts c WHERE c.id = m.account_id AND c.closed) `

// FindSignIn returns a member by the tenant's name and the member's address. The transaction sees all tenants.
func FindSignIn(ctx context.Context, tx pgx.Tx, tenantName, email string) (SignIn, error) {
	return one[SignIn](ctx, tx, "find member", signInQuery+`AND t.name = $1 AND lower(m.email) = lower($2) AND m.email <> ''`, tenantName, email)
}

// MemberSignIn returns a member by id.
func MemberSignIn(ctx context.Context, tx pgx.Tx, member string) (SignIn, error) {
	return one[SignIn](ctx, tx, "find member", signInQuery+`AND m.id = $1`, member)
}

// LockAuthenticator returns a member's password hash as it is now, and keeps what they sign in with from changing until the end
// of the transaction. A member who was removed, or never had any of it, has none.
func LockAuthenticator(ctx context.Context, tx pgx.Tx, member string) (password string, err error) {
	err = tx.QueryRow(ctx, `SELECT password FROM authenticators WHERE member_id = $1 FOR NO KEY UPDATE`, member).Scan(&password)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return password, wrap("lock authenticator", err)
}

// SetPassword sets a member's password hash; mails with which another one could be set are void from then on.
func SetPassword(ctx context.Context, tx pgx.Tx, tenant, member, hash string) error {
	if err := DeleteResets(ctx, tx, member); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO authenticators (member_id, tenant_id, password) VALUES ($1, $2, $3)
		ON CONFLICT (member_id) DO UPDATE SET password = excluded.password`, member, tenant, hash)
	return wrap("set password", err)
}

// SetTOTP sets a member's sealed TOTP secret, which is to be confirmed.
func SetTOTP(ctx context.Context, tx pgx.Tx, tenant, member string, sealed []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO authenticators (member_id, tenant_id, totp) VALUES ($1, $2, $3)
		ON CONFLICT (member_id) DO UPDATE SET totp = excluded.totp, totp_confirmed = false, totp_step = 0`, member, tenant, sealed)
	return wrap("set second factor", err)
}

// ConfirmTOTP makes the TOTP secret count, with the hashes of new recovery codes.
func ConfirmTOTP(ctx context.Context, tx pgx.Tx, tenant, member string, codes [][]byte) error {
	if _, err := tx.Exec(ctx, `UPDATE authenticators SET totp_confirmed = true WHERE member_id = $1`, member); err != nil {
		return wrap("confirm second factor", err)
	}
	_, err := tx.Exec(ctx, `INSERT INTO recovery_codes (code_sha256, tenant_id, member_id) SELECT unnest($1::bytea[]), $2, $3`, codes, tenant, member)
	return wrap("insert recovery codes", err)
}

// ClearTOTP takes away a member's second factor and recovery codes.
func ClearTOTP(ctx context.Context, tx pgx.Tx, member string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM recovery_codes WHERE member_id = $1`, member); err != nil {
		return wrap("delete recovery codes", err)
	}
	_, err := tx.Exec(ctx, `UPDATE authenticators SET totp = NULL, totp_confirmed = false, totp_step = 0 WHERE member_id = $1`, member)
	return wrap("delete second factor", err)
}

// UseTOTPStep marks a time step as used; false when it, or a later one, was already (RFC 6238, section 5.2).
func UseTOTPStep(ctx context.Context, tx pgx.Tx, member string, step int64) (bool, error) {
	tag, err := tx.Exec(ctx, `UPDATE authenticators SET totp_step = $2 WHERE member_id = $1 AND totp_step < $2`, member, step)
	return tag.RowsAffected() == 1, wrap("use one-time password", err)
}

// UseRecoveryCode deletes a recovery code and returns how many are left; false when there is no such code.
func UseRecoveryCode(ctx context.Context, tx pgx.Tx, member string, sha256 []byte) (left int, used bool, err error) {
	tag, err := tx.Exec(ctx, `DELETE FROM recovery_codes WHERE member_id = $1 AND code_sha256 = $2`, member, sha256)
	if err != nil || tag.RowsAffected() == 0 {
		return 0, false, wrap("use recovery code", err)
	}
	err = tx.QueryRow(ctx, `SELECT count(*) FROM recovery_codes WHERE member_id = $1`, member).Scan(&left)
	return left, true, wrap("count recovery codes", err)
}

// DeleteAuthenticators deletes all that a member signs in with, their sessions and open password resets. It returns the
// ids of the sessions.
func DeleteAuthenticators(ctx context.Context, tx pgx.Tx, member string) ([]string, error) {
	for _, table := range []string{"recovery_codes", "authenticators", "password_resets"} {
		if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE member_id = $1`, member); err != nil {
			return nil, wrap("delete authenticators", err)
		}
	}
	return EndSessions(ctx, tx, member)
}

// Session is a row of sessions.
type Session struct {
	ID        string    `db:"id" json:"id"`
	Member    string    `db:"member_id" json:"member"`
	Method    string    `db:"method" json:"method" description:"password, passwordAndTOTP, passwordAndRecoveryCode or sso."`
	Address   string    `db:"address" json:"address"`
	UserAgent string    `db:"user_agent" json:"userAgent"`
	CreatedAt time.Time `db:"created_at" json:"createdAt"`
	UsedAt    time.Time `db:"used_at" json:"usedAt"`
	ExpiresAt time.Time `db:"expires_at" json:"expiresAt"`
}

// InsertSession adds a session by the hash of its token.
func InsertSession(ctx context.Context, tx pgx.Tx, tenant string, s Session, sha256 []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO sessions (id, tenant_id, member_id, token_sha256, method, address, user_agent, created_at, used_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)`, s.ID, tenant, s.Member, sha256, s.Method, s.Address, s.UserAgent, s.CreatedAt, s.ExpiresAt)
	return wrap("insert session", err)
}

// Sessions returns the sessions of a member that go on, the oldest first; idleSince is when they must have been used last.
func Sessions(ctx context.Context, tx pgx.Tx, member string, now, idleSince time.Time) ([]Session, error) {
	return collect[Session](ctx, tx, "list sessions", `SELECT id, member_id, method, address, user_agent, created_at, used_at, expires_at
		FROM sessions WHERE member_id = $1 AND expires_at > $2 AND used_at > $3 ORDER BY id LIMIT 1000`, member, now, idleSince)
}

// SessionMember returns whose session it is.
func SessionMember(ctx context.Context, tx pgx.Tx, id string) (member string, err error) {
	err = tx.QueryRow(ctx, `SELECT member_id FROM sessions WHERE id = $1`, id).Scan(&member)
	return member, wrap("find session", err)
}

// EndSession deletes a session.
func EndSession(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `DELETE FROM sessions WHERE id = $1`, id)
	return wrap("end session", err)
}

// EndSessions deletes the sessions of a member and returns their ids.
func EndSessions(ctx context.Context, tx pgx.Tx, member string) ([]string, error) {
	rows, err := tx.Query(ctx, `DELETE FROM sessions WHERE member_id = $1 RETURNING id`, member)
	if err != nil {
		return nil, wrap("end sessions", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, wrap("end sessions", err)
}

// SessionHolder is who a session's token stands for.
type SessionHolder struct {
	ID      string   `db:"id"`
	Tenant  string   `db:"tenant_id"`
	Member  string   `db:"member_id"`
	Roles   []string `db:"roles"`
	Account string   `db:"account_id"`
	// Stale says that the time of the last use should be written again.
	Stale bool `db:"stale"`
}

// FindSessionHolder returns who a session's token stands for, when it was used after idleSince and has not expired. The
// transaction sees all tenants.
func FindSessionHolder(ctx context.Context, tx pgx.Tx, sha256 []byte, now, idleSince, stale time.Time) (SessionHolder, error) {
	return one[SessionHolder](ctx, tx, "find session", `SELECT s.id, s.tenant_id, s.member_id, m.roles, m.account_id, s.used_at < $4 AS stale
		FROM sessions s JOIN members m ON m.id = s.member_id
		WHERE s.token_sha256 = $1 AND s.expires_at > $2 AND s.used_at > $3 AND NOT m.removed
			AND NOT EXISTS (SELECT FROM accounts c WHERE c.id = m.account_id AND c.closed)`, sha256, now, idleSince, stale)
}

// UseSession notes that a session was used.
func UseSession(ctx context.Context, tx pgx.Tx, id string, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE sessions SET used_at = $2 WHERE id = $1`, id, now)
	return wrap("use session", err)
}

// PutResetRequest keeps a request for a password reset until the worker comes to it.
func PutResetRequest(ctx context.Context, tx pgx.Tx, id, tenantName string, email []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO password_reset_requests (id, tenant_name, email) VALUES ($1, $2, $3)`, id, tenantName, email)
	return wrap("put request for password reset", err)
}

// TakeResetRequest deletes the oldest request that no other worker has and returns it; false when there is none.
func TakeResetRequest(ctx context.Context, tx pgx.Tx) (id, tenantName string, email []byte, ok bool, err error) {
	err = tx.QueryRow(ctx, `DELETE FROM password_reset_requests WHERE id = (
			SELECT id FROM password_reset_requests ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, tenant_name, email`).Scan(&id, &tenantName, &email)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", "", nil, false, nil
	}
	return id, tenantName, email, err == nil, wrap("take request for password reset", err)
}

// DeleteResetRequest deletes a request for a password reset.
func DeleteResetRequest(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `DELETE FROM password_reset_requests WHERE id = $1`, id)
	return wrap("delete request for password reset", err)
}

// DeleteResets deletes the password resets of a member that were mailed.
func DeleteResets(ctx context.Context, tx pgx.Tx, member string) error {
	_, err := tx.Exec(ctx, `DELETE FROM password_resets WHERE member_id = $1`, member)
	return wrap("delete password resets", err)
}

// InsertReset adds a password reset by the hash of its token.
func InsertReset(ctx context.Context, tx pgx.Tx, tenant, member string, sha256 []byte, expires time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO password_resets (token_sha256, tenant_id, member_id, expires_at) VALUES ($1, $2, $3, $4)`, sha256, tenant, member, expires)
	return wrap("insert password reset", err)
}

// FindReset returns whom a password reset that has not expired is for. The transaction sees all tenants.
func FindReset(ctx context.Context, tx pgx.Tx, sha256 []byte, now time.Time) (tenant, member string, err error) {
	err = tx.QueryRow(ctx, `SELECT tenant_id, member_id FROM password_resets WHERE token_sha256 = $1 AND expires_at > $2`, sha256, now).Scan(&tenant, &member)
	return tenant, member, wrap("find password reset", err)
}

// UseResets deletes every password reset of a member, and says whether the one with this hash was among them.
func UseResets(ctx context.Context, tx pgx.Tx, member string, sha256 []byte) (bool, error) {
	rows, err := tx.Query(ctx, `DELETE FROM password_resets WHERE member_id = $1 RETURNING token_sha256 = $2`, member, sha256)
	if err != nil {
		return false, wrap("use password reset", err)
	}
	was, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	for _, this := range was {
		if this {
			return true, wrap("use password reset", err)
		}
	}
	return false, wrap("use password reset", err)
}
