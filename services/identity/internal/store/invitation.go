package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Invitation is a row of invitations.
type Invitation struct {
	ID        string    `db:"id" json:"id"`
	Account   string    `db:"account_id" json:"accountId,omitempty"`
	Email     string    `db:"email" json:"email"`
	Roles     []string  `db:"roles" json:"roles"`
	ExpiresAt time.Time `db:"expires_at" json:"expiresAt"`
	CreatedAt time.Time `db:"created_at" json:"createdAt"`
}

const invitationColumns = `id, account_id, email, roles, expires_at, created_at`

// InsertInvitation adds an invitation by the hash of its token.
func InsertInvitation(ctx context.Context, tx pgx.Tx, tenant string, i Invitation, sha256 []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO invitations (id, tenant_id, account_id, email, roles, token_sha256, expires_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, i.ID, tenant, i.Account, i.Email, i.Roles, sha256, i.ExpiresAt, i.CreatedAt)
	return wrap("insert invitation", err)
}

// FindInvitation returns the tenant, the tenant's name and the id of the invitation with this token. The transaction sees all
// tenants.
func FindInvitation(ctx context.Context, tx pgx.Tx, sha256 []byte) (tenant, tenantName, id string, err error) {
	err = tx.QueryRow(ctx, `SELECT i.tenant_id, t.name, i.id FROM invitations i JOIN tenants t ON t.tenant_id = i.tenant_id
		WHERE i.token_sha256 = $1`, sha256).Scan(&tenant, &tenantName, &id)
	return tenant, tenantName, id, wrap("find invitation", err)
}

// InvitationOpen says whether an address has an invitation to an account, to the tenant for "", that has not expired.
func InvitationOpen(ctx context.Context, tx pgx.Tx, tenant, account, email string, now time.Time) (open bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM invitations
		WHERE tenant_id = $1 AND account_id = $2 AND lower(email) = lower($3) AND expires_at > $4)`, tenant, account, email, now).Scan(&open)
	return open, wrap("look for open invitation", err)
}

// InvitationByID returns an open invitation.
func InvitationByID(ctx context.Context, tx pgx.Tx, id string) (Invitation, error) {
	return one[Invitation](ctx, tx, "find invitation", `SELECT `+invitationColumns+` FROM invitations WHERE id = $1`, id)
}

// Invitations returns the open invitations of an account, those of the tenant and all accounts for "", in order of their
// id, after an id.
func Invitations(ctx context.Context, tx pgx.Tx, account, after string, limit int) ([]Invitation, error) {
	return collect[Invitation](ctx, tx, "list invitations", `SELECT `+invitationColumns+` FROM invitations
		WHERE ($1 = '' OR account_id = $1) AND id > $2 ORDER BY id LIMIT $3`, account, after, limit)
}

// DeleteInvitation deletes an invitation.
func DeleteInvitation(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `DELETE FROM invitations WHERE id = $1`, id)
	return wrap("delete invitation", err)
}
