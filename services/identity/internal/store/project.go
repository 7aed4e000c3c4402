package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Projection describes what the log says of identity's tables, to compare them with it. Personal data and secrets are in no
// event, so the tables cannot be made again.
func Projection() eventlog.Projection {
	at := "created_at" // of the row: a moment before that of the event
	return eventlog.Projection{
		Name:   "identity",
		Tables: []string{"tenants", "members", "tokens", "accounts", "applications", "credentials", "roles", "single_sign_on"},
		Beside: map[string][]string{
			"tenants": {at}, "members": {at, "display_name", "email"}, "tokens": {at, "token_sha256", "title"}, "accounts": {at, "billing_email"},
			"applications": {at}, "credentials": {at}, "single_sign_on": {"client_secret"},
		},
		Apply: func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			return projection{ctx: ctx, tx: tx, tenant: e.Tenant, at: e.RecordedAt}.apply(e.Payload)
		},
	}
}

// projection writes one event's effect with the functions that the commands use.
type projection struct {
	ctx    context.Context //nolint:containedctx // lives for one call
	tx     pgx.Tx
	tenant string
	at     time.Time
}

func (p projection) exec(query string, args ...any) error {
	_, err := p.tx.Exec(p.ctx, query, args...)
	return err
}

func (p projection) apply(payload any) error {
	switch e := payload.(type) {
	case *identityv1.TenantCreated:
		return InsertTenant(p.ctx, p.tx, Tenant{ID: e.GetTenant(), Name: e.GetName(), Title: e.GetTitle(), CreatedAt: p.at})
	case *identityv1.TenantChanged:
		return p.exec(`UPDATE tenants SET title = $2 WHERE tenant_id = $1`, e.GetTenant(), e.GetTitle())
	case *identityv1.MemberAdded:
		return InsertMember(p.ctx, p.tx, p.tenant, Member{ID: e.GetMember(), Roles: list(e.GetRoles()), Account: e.GetAccount(), CreatedAt: p.at})
	case *identityv1.MemberRolesChanged:
		return UpdateMember(p.ctx, p.tx, e.GetMember(), list(e.GetRoles()), false)
	case *identityv1.MemberRemoved:
		return p.exec(`UPDATE members SET removed = true WHERE id = $1`, e.GetMember())
	case *identityv1.TokenIssued:
		return p.tokenIssued(e)
	case *identityv1.TokenRevoked:
		return RevokeToken(p.ctx, p.tx, e.GetToken())
	case *identityv1.RoleSet:
		return UpsertRole(p.ctx, p.tx, p.tenant, Role{Name: e.GetRole(), Title: e.GetTitle(), Scopes: e.GetScopes()})
	case *identityv1.RoleDeleted:
		return DeleteRole(p.ctx, p.tx, p.tenant, e.GetRole())
	case *identityv1.SingleSignOnSet:
		return p.singleSignOnSet(e)
	case *identityv1.SingleSignOnRemoved:
		return DeleteSingleSignOn(p.ctx, p.tx, p.tenant)
	}
	return p.applyAccount(payload)
}

func (p projection) applyAccount(payload any) error {
	switch e := payload.(type) {
	case *identityv1.AccountCreated:
		return UpsertAccount(p.ctx, p.tx, p.tenant, Account{
			ID: e.GetAccount(), Name: e.GetName(), Title: e.GetTitle(), Country: e.GetCountry(), Currency: e.GetCurrency(), CreatedAt: p.at,
		})
	case *identityv1.AccountChanged:
		return p.exec(`UPDATE accounts SET title = $2, country = $3, currency = $4 WHERE id = $1`, e.GetAccount(), e.GetTitle(), e.GetCountry(), e.GetCurrency())
	case *identityv1.AccountClosed:
		return p.ended(`UPDATE accounts SET closed = true WHERE id = $1`, e.GetAccount())
	case *identityv1.ApplicationCreated:
		return UpsertApplication(p.ctx, p.tx, p.tenant, Application{
			ID: e.GetApplication(), Name: e.GetName(), AccountID: e.GetAccount(), Title: e.GetTitle(), Description: e.GetDescription(),
			Roles: e.GetRoles(), CreatedAt: p.at,
		})
	case *identityv1.ApplicationChanged:
		return p.exec(`UPDATE applications SET title = $2, description = $3, roles = $4 WHERE id = $1`,
			e.GetApplication(), e.GetTitle(), e.GetDescription(), list(e.GetRoles()))
	case *identityv1.ApplicationDeleted:
		return p.ended(`UPDATE applications SET deleted = true WHERE id = $1`, e.GetApplication())
	case *identityv1.CredentialIssued:
		return InsertCredential(p.ctx, p.tx, p.tenant, Application{ID: e.GetApplication(), AccountID: e.GetAccount()}, Credential{
			ID: e.GetCredential(), Kind: e.GetKind(), Title: e.GetTitle(), Prefix: e.GetPrefix(), Scopes: e.GetScopes(),
			ClientID: e.GetClientId(), Issuer: e.GetIssuer(), ExpiresAt: unixOrNever(e.GetExpiresAt()), CreatedAt: p.at,
		}, e.GetKeySha256())
	case *identityv1.CredentialExpirySet:
		return SetCredentialExpiry(p.ctx, p.tx, e.GetCredential(), time.Unix(e.GetExpiresAt(), 0))
	case *identityv1.CredentialRevoked:
		return RevokeCredentials(p.ctx, p.tx, e.GetCredential())
	}
	return nil
}

// ended marks an account or application as ended, and its credentials as void.
func (p projection) ended(query, id string) error {
	if err := p.exec(query, id); err != nil {
		return err
	}
	return RevokeCredentials(p.ctx, p.tx, id)
}

func (p projection) tokenIssued(e *identityv1.TokenIssued) error {
	t := Token{
		ID: e.GetToken(), Member: e.GetMember(), Title: e.GetTitle(), Scopes: list(e.GetScopes()),
		Unlimited: e.GetUnlimited() || (e.Unlimited == nil && len(e.GetScopes()) == 0),
		Operator:  e.GetOperator() || (e.Operator == nil && len(e.GetScopes()) == 0),
		ExpiresAt: unixOrNever(e.GetExpiresAt()), CreatedAt: p.at,
	}
	return InsertToken(p.ctx, p.tx, p.tenant, t, []byte(t.ID)) // the hash is in no event, but unique
}

func (p projection) singleSignOnSet(e *identityv1.SingleSignOnSet) error {
	type mapping struct {
		Value string   `json:"value"`
		Roles []string `json:"roles"`
	}
	mappings := []mapping{}
	for _, m := range e.GetMappings() {
		mappings = append(mappings, mapping{m.GetValue(), list(m.GetRoles())})
	}
	encoded, err := json.Marshal(mappings)
	if err != nil {
		return err
	}
	return UpsertSingleSignOn(p.ctx, p.tx, SingleSignOn{
		Tenant: p.tenant, Issuer: e.GetIssuer(), ClientID: e.GetClientId(), Domain: e.GetDomain(), RolesClaim: e.GetRolesClaim(),
		Mappings: encoded, DefaultRoles: e.GetDefaultRoles(), Secret: []byte{}, Scopes: e.GetScopes(), Operator: e.GetOperator(),
	})
}

func unixOrNever(seconds int64) *time.Time {
	if seconds == 0 {
		return nil
	}
	at := time.Unix(seconds, 0)
	return &at
}
