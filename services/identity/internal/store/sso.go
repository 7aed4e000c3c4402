package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// SingleSignOn is a row of single_sign_on.
type SingleSignOn struct {
	Tenant       string          `db:"tenant_id"`
	Issuer       string          `db:"issuer"`
	ClientID     string          `db:"client_id"`
	Secret       []byte          `db:"client_secret"`
	Domain       string          `db:"domain"`
	RolesClaim   string          `db:"roles_claim"`
	Mappings     json.RawMessage `db:"mappings"`
	DefaultRoles []string        `db:"default_roles"`
	// Scopes and Operator are what whoever set it may do.
	Scopes   []string `db:"scopes"`
	Operator bool     `db:"operator"`
}

const singleSignOnQuery = `SELECT s.tenant_id, s.issuer, s.client_id, s.client_secret, s.domain, s.roles_claim, s.mappings, s.default_roles,
	s.scopes, s.operator FROM single_sign_on s `

// UpsertSingleSignOn writes a tenant's single sign-on as it is.
func UpsertSingleSignOn(ctx context.Context, tx pgx.Tx, s SingleSignOn) error {
	_, err := tx.Exec(ctx, `INSERT INTO single_sign_on (tenant_id, issuer, client_id, client_secret, domain, roles_claim, mappings,
			default_roles, scopes, operator)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (tenant_id) DO UPDATE SET issuer = excluded.issuer, client_id = excluded.client_id, client_secret = excluded.client_secret,
			domain = excluded.domain, roles_claim = excluded.roles_claim, mappings = excluded.mappings, default_roles = excluded.default_roles,
			scopes = excluded.scopes, operator = excluded.operator`,
		s.Tenant, s.Issuer, s.ClientID, s.Secret, s.Domain, s.RolesClaim, s.Mappings, list(s.DefaultRoles), list(s.Scopes), s.Operator)
	return wrap("write single sign-on", err)
}

// FindSingleSignOn returns a tenant's single sign-on.
func FindSingleSignOn(ctx context.Context, tx pgx.Tx, tenant string) (SingleSignOn, error) {
	return one[SingleSignOn](ctx, tx, "find single sign-on", singleSignOnQuery+`WHERE s.tenant_id = $1`, tenant)
}

// SingleSignOnOf returns the single sign-on of the tenant of that name. The transaction sees all tenants.
func SingleSignOnOf(ctx context.Context, tx pgx.Tx, tenantName string) (SingleSignOn, error) {
	return one[SingleSignOn](ctx, tx, "find single sign-on", singleSignOnQuery+`JOIN tenants t ON t.tenant_id = s.tenant_id WHERE t.name = $1`, tenantName)
}

// DeleteSingleSignOn deletes a tenant's single sign-on, and sign-ins that are under way.
func DeleteSingleSignOn(ctx context.Context, tx pgx.Tx, tenant string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM sso_sign_ins WHERE tenant_id = $1`, tenant); err != nil {
		return wrap("delete sign-ins", err)
	}
	_, err := tx.Exec(ctx, `DELETE FROM single_sign_on WHERE tenant_id = $1`, tenant)
	return wrap("delete single sign-on", err)
}

// SSOSignIn is a row of sso_sign_ins.
type SSOSignIn struct {
	Tenant   string `db:"tenant_id"`
	Browser  []byte `db:"browser"`
	Nonce    string `db:"nonce"`
	Verifier string `db:"verifier"`
	// Member is empty until the provider has answered.
	Member string `db:"member_id"`
}

// InsertSSOSignIn adds a sign-in under the hash of what it is found by.
func InsertSSOSignIn(ctx context.Context, tx pgx.Tx, key []byte, s SSOSignIn, expires time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO sso_sign_ins (key_sha256, tenant_id, browser, nonce, verifier, member_id, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, key, s.Tenant, append([]byte{}, s.Browser...), s.Nonce, s.Verifier, s.Member, expires)
	return wrap("insert sign-in", err)
}

// TakeSSOSignIn deletes a sign-in that has not expired and returns it: each is taken once. returned says whether the
// provider must have answered. The transaction sees all tenants.
func TakeSSOSignIn(ctx context.Context, tx pgx.Tx, key []byte, returned bool, now time.Time) (SSOSignIn, error) {
	return one[SSOSignIn](ctx, tx, "take sign-in", `DELETE FROM sso_sign_ins WHERE key_sha256 = $1 AND (member_id <> '') = $2 AND expires_at > $3
		RETURNING tenant_id, browser, nonce, verifier, member_id`, key, returned, now)
}

// MemberBySubject returns the member who has signed in at a provider as a subject before.
func MemberBySubject(ctx context.Context, tx pgx.Tx, issuer, subject string) (id string, err error) {
	err = tx.QueryRow(ctx, `SELECT a.member_id FROM authenticators a JOIN members m ON m.id = a.member_id
		WHERE a.sso_issuer = $1 AND a.sso_subject = $2 AND NOT m.removed`, issuer, subject).Scan(&id)
	return id, wrap("find member by subject", err)
}

// MemberByEmail returns the member with an address, with the account and the subject of the issuer that they are linked to
// already, each empty for none.
func MemberByEmail(ctx context.Context, tx pgx.Tx, issuer, email string) (id, account, subject string, err error) {
	err = tx.QueryRow(ctx, `SELECT m.id, m.account_id, coalesce(CASE WHEN a.sso_issuer = $1 THEN a.sso_subject END, '') FROM members m
		LEFT JOIN authenticators a ON a.member_id = m.id WHERE lower(m.email) = lower($2) AND NOT m.removed`, issuer, email).Scan(&id, &account, &subject)
	return id, account, subject, wrap("find member by address", err)
}

// LinkSubject notes as whom a member signs in at a provider.
func LinkSubject(ctx context.Context, tx pgx.Tx, tenant, member, issuer, subject string) error {
	_, err := tx.Exec(ctx, `INSERT INTO authenticators (member_id, tenant_id, sso_issuer, sso_subject) VALUES ($1, $2, $3, $4)
		ON CONFLICT (member_id) DO UPDATE SET sso_issuer = excluded.sso_issuer, sso_subject = excluded.sso_subject`, member, tenant, issuer, subject)
	return wrap("link member to subject", err)
}
