package app

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/token"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// IssuedToken is a personal access token as it is shown once.
type IssuedToken struct {
	store.Token
	// Secret is the token itself; empty when the command was repeated, because it is not kept.
	Secret string `json:"secret,omitempty"`
}

// TokenRequest says what token to issue.
type TokenRequest struct {
	// Member is the acting one when empty.
	Member, Title string
	// Scopes are all that both the actor and the member may, when empty.
	Scopes []string
	// Operator asks for a token that acts on the installation.
	Operator bool
	// Expires is zero for a token that does not.
	Expires time.Time
}

// IssueToken gives a member a personal access token. Members issue their own; those with the scope identity.admin that of
// anybody who may no more than they themselves. None can do more than the actor.
func (i *Identity) IssueToken(ctx context.Context, r TokenRequest) (IssuedToken, error) {
	p, member := actor(ctx), r.Member
	own := strings.TrimPrefix(p.Subject, "member:")
	if member == "" {
		member = own
	}
	if member != own && !p.May("identity.admin") {
		return IssuedToken{}, problem.NewDenied("scope-missing", "Issuing another member's token needs the scope identity.admin.")
	}
	secret := apibridge.PersonalTokenPrefix + newSecret()
	result, err := executeResult(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Token, error) {
		m, _, err := loadMember(ctx, tx, member)
		if err != nil {
			return store.Token{}, err
		}
		if m.Account != "" {
			return store.Token{}, problem.NewConflict("account-member", "A member of an account signs in; only members of the tenant have personal access tokens.")
		}
		if member != own {
			if err := mayBecome(ctx, tx, m); err != nil {
				return store.Token{}, err
			}
		}
		roles, err := ownRoles(ctx, tx, p.Tenant)
		if err != nil {
			return store.Token{}, err
		}
		grant, err := tokenGrant(p, m, roles, r)
		if err != nil {
			return store.Token{}, err
		}
		return i.issueToken(ctx, tx, p.Tenant, member, r.Title, grant, r.Expires, secret)
	})
	issued := IssuedToken{Token: result.Value}
	if err == nil && !result.Replayed {
		issued.Secret = secret
	}
	return issued, err
}

// tokenGrant keeps an actor from issuing a token that may do more than the actor's own.
func tokenGrant(p principal.Principal, m domain.Member, own domain.Roles, r TokenRequest) (domain.Grant, error) {
	for _, s := range r.Scopes {
		if !p.May(s) {
			return domain.Grant{}, problem.NewDenied("scope-missing", "A token with the scope %s cannot be issued by one who does not have it.", s)
		}
	}
	grant := domain.Grant{Scopes: r.Scopes, Operator: r.Operator}
	if len(r.Scopes) == 0 {
		grant.Scopes = domain.Restrict(own.Scopes(m.Roles), p.Scopes)
	}
	switch {
	case r.Operator && !p.Operator:
		return grant, problem.NewDenied("operator-only", "A token that acts on the installation cannot be issued by one who may not.")
	case r.Operator && !domain.IsInstaller(m.Roles):
		return grant, problem.NewInvalid("token-invalid", "The token is not valid.").With(problem.Field{
			Path: "operator", Message: "is for members with the role installer only; leave it out",
		})
	case len(grant.Scopes) == 0 && !grant.Operator:
		return grant, problem.NewDenied("scope-missing", "The token could do nothing: you have no scope that the member has.")
	}
	return grant, nil
}

func (i *Identity) issueToken(ctx context.Context, tx *eventlog.Tx, tenant, member, title string, grant domain.Grant, expires time.Time, secret string) (store.Token, error) {
	grant.Scopes = append([]string{}, slices.Compact(slices.Sorted(slices.Values(grant.Scopes)))...)
	t := store.Token{
		ID: newID(), Member: member, Title: title, Scopes: grant.Scopes, Unlimited: grant.Unlimited, Operator: grant.Operator,
		ExpiresAt: timePointer(expires), CreatedAt: i.now(),
	}
	events, err := domain.IssueToken(t.ID, member, title, grant, expires, t.CreatedAt)
	if err != nil {
		return store.Token{}, err
	}
	tx.AppendFor(tenant, "token", t.ID, 0, events...)
	return t, store.InsertToken(ctx, tx, tenant, t, hash(secret))
}

// RevokeToken makes a personal access token void. Signed tokens that were given for it end within token.Lifetime.
func (i *Identity) RevokeToken(ctx context.Context, id string) error {
	p := actor(ctx)
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		history, err := tx.Load(ctx, "token", id)
		if err != nil {
			return struct{}{}, err
		}
		t := eventlog.Fold(history, domain.Token{}, domain.Token.Evolve)
		if t.Member != strings.TrimPrefix(p.Subject, "member:") && !p.May("identity.admin") && t.ID != "" {
			return struct{}{}, problem.NewDenied("scope-missing", "Revoking another member's token needs the scope identity.admin.")
		}
		events, err := t.Revoke()
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("token", id, uint64(len(history)), events...)
		return struct{}{}, store.RevokeToken(ctx, tx, id)
	})
	return err
}

// Tokens returns personal access tokens: one's own, or with the scope identity.admin everybody's.
func (i *Identity) Tokens(ctx context.Context, after string, limit int) ([]store.Token, error) {
	p := actor(ctx)
	member := strings.TrimPrefix(p.Subject, "member:")
	if p.May("identity.admin") {
		member = ""
	}
	return read(ctx, i, func(tx pgx.Tx, _ string) ([]store.Token, error) {
		return store.Tokens(ctx, tx, member, after, limit)
	})
}

// Exchange returns a short-lived signed token for a personal access token or a session's token.
func (i *Identity) Exchange(ctx context.Context, secret string) (string, time.Time, error) {
	refused := problem.NewUnauthenticated("token-invalid", "The personal access token is not known, has expired or was revoked.")
	if strings.HasPrefix(secret, apibridge.SessionPrefix) {
		p, err := i.exchangeSession(ctx, secret)
		if err != nil {
			return "", time.Time{}, err
		}
		return i.sign(ctx, p)
	}
	if !strings.HasPrefix(secret, apibridge.PersonalTokenPrefix) {
		return "", time.Time{}, refused
	}
	var holder store.TokenHolder
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		holder, err = store.FindTokenHolder(ctx, tx, hash(secret))
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return "", time.Time{}, refused
	}
	if err != nil {
		return "", time.Time{}, err
	}
	if holder.Void || (holder.ExpiresAt != nil && !i.now().Before(*holder.ExpiresAt)) {
		return "", time.Time{}, refused
	}
	p, err := i.principalOf(ctx, holder.Tenant, holder.Member, holder.Account, holder.Roles)
	if err != nil {
		return "", time.Time{}, err
	}
	if !holder.Unlimited {
		p.Scopes = domain.Restrict(p.Scopes, holder.Scopes)
	}
	p.Operator = p.Operator && holder.Operator
	return i.sign(ctx, p)
}

// sign returns a signed token for a principal.
func (i *Identity) sign(ctx context.Context, p principal.Principal) (string, time.Time, error) {
	kid, key, err := i.signingKey(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	return token.Sign(key, kid, p, i.now())
}

// signingKeys remembers the opened key: opening it again for every exchange would cost a query.
type signingKeys struct {
	mu  sync.Mutex
	kid string
	key ed25519.PrivateKey
}

// signingKey returns the newest signing key.
func (i *Identity) signingKey(ctx context.Context) (string, ed25519.PrivateKey, error) {
	i.keys.mu.Lock()
	defer i.keys.mu.Unlock()
	if i.keys.key != nil {
		return i.keys.kid, i.keys.key, nil
	}
	var rows []store.SigningKey
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		rows, err = store.SigningKeys(ctx, tx)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	if len(rows) == 0 {
		return "", nil, problem.NewUnavailable("no-signing-key", "There is no signing key yet. Try again in a moment.")
	}
	seed, err := i.seal.Open(rows[0].KID, rows[0].Sealed)
	if err != nil {
		return "", nil, fmt.Errorf("open signing key %s: %w", rows[0].KID, err)
	}
	i.keys.kid, i.keys.key = rows[0].KID, ed25519.NewKeyFromSeed(seed)
	return i.keys.kid, i.keys.key, nil
}

// EnsureSigningKey makes the first signing key. Replicas that start together make one.
func (i *Identity) EnsureSigningKey(ctx context.Context) error {
	ctx = principal.With(ctx, principal.Service("identity", principal.AllTenants))
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	_, err = eventlog.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		if _, err := tx.Exec(ctx, `LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return struct{}{}, fmt.Errorf("lock signing keys: %w", err)
		}
		rows, err := store.SigningKeys(ctx, tx)
		if err != nil || len(rows) > 0 {
			return struct{}{}, err
		}
		return struct{}{}, i.addSigningKey(ctx, tx, public, private)
	})
	return err
}

func (i *Identity) addSigningKey(ctx context.Context, tx *eventlog.Tx, public ed25519.PublicKey, private ed25519.PrivateKey) error {
	kid := newID()
	jwk, err := json.Marshal(token.PublicJWK(kid, public))
	if err != nil {
		return err
	}
	tx.AppendFor(principal.AllTenants, "signing-key", kid, 0, &identityv1.SigningKeyAdded{Kid: kid, PublicJwk: string(jwk)})
	return store.InsertSigningKey(ctx, tx, store.SigningKey{KID: kid, Sealed: i.seal.Close(kid, private.Seed()), PublicJWK: string(jwk)}, i.now())
}

// KeySet returns the published keys as a JWK Set.
func (i *Identity) KeySet(ctx context.Context) ([]byte, error) {
	var set []byte
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		set, err = KeySet(ctx, tx)
		return err
	})
	return set, err
}

// KeySet reads the published keys in a transaction.
func KeySet(ctx context.Context, tx pgx.Tx) ([]byte, error) {
	rows, err := store.SigningKeys(ctx, tx)
	if err != nil {
		return nil, err
	}
	set := token.JWKSet{Keys: []token.JWK{}}
	for _, r := range rows {
		var k token.JWK
		if err := json.Unmarshal([]byte(r.PublicJWK), &k); err != nil {
			return nil, fmt.Errorf("read signing key %s: %w", r.KID, err)
		}
		set.Keys = append(set.Keys, k)
	}
	return json.Marshal(set)
}
