// Package follow has what identity makes of event streams: of its own, the documents that gateways and services read.
package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/documents"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/token"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Documents writes the documents that an event of identity's own log changes: credentials for gateways, and the key set.
func Documents(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	if _, ok := e.Payload.(*identityv1.SigningKeyAdded); ok {
		set, err := app.KeySet(ctx, tx)
		if err != nil {
			return err
		}
		return documents.PutBytes(ctx, tx, bus.KeysBucket, token.KeysKey, e.Position, set)
	}
	if t, ok := e.Payload.(*identityv1.AccessTokenRevoked); ok {
		return revoked(ctx, tx, e, t)
	}
	id := changed(e.Payload)
	if id == "" {
		return nil
	}
	credentials, err := store.GatewayCredentials(ctx, tx, id)
	if err != nil {
		return err
	}
	for key, c := range byKey(credentials) {
		if err := documents.Put(ctx, tx, bus.CredentialsBucket, key, e.Position, document(c, e.Position)); err != nil {
			return err
		}
	}
	return nil
}

// revoked makes the document of an access token that is void before its end.
func revoked(ctx context.Context, tx pgx.Tx, e eventlog.Event, t *identityv1.AccessTokenRevoked) error {
	return documents.Put(ctx, tx, bus.CredentialsBucket, keyOf("token "+t.GetToken()), e.Position, &gatewayv1.CredentialDocument{
		Revision: e.Position, Tenant: e.Tenant, Kind: "revokedToken", Revoked: true, ExpiresAt: t.GetExpiresAt(),
	})
}

func keyOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// byKey returns the credential that the document of each key is made of. A client that was rotated has several: the one that
// is valid longest stands for it, so that the client is known as long as one of its secrets is.
func byKey(credentials []store.GatewayCredential) map[string]store.GatewayCredential {
	chosen := map[string]store.GatewayCredential{}
	for _, c := range credentials {
		key := hex.EncodeToString(c.SHA256)
		switch c.Kind {
		case domain.OAuth2:
			key = keyOf("oauth2 " + c.ClientID)
		case domain.JWT:
			key = keyOf("jwt " + c.Tenant + " " + c.Issuer + " " + c.ClientID)
		}
		if other, ok := chosen[key]; !ok || lasts(c, other) {
			chosen[key] = c
		}
	}
	return chosen
}

// lasts says whether c, which is the newer one, is valid at least as long as other.
func lasts(c, other store.GatewayCredential) bool {
	switch {
	case c.Void != other.Void:
		return other.Void
	case c.ExpiresAt == nil || other.ExpiresAt == nil:
		return c.ExpiresAt == nil
	default:
		return !c.ExpiresAt.Before(*other.ExpiresAt)
	}
}

// changed returns the id of the credential, application or account whose credentials' documents an event changes.
func changed(payload proto.Message) string {
	switch p := payload.(type) {
	case *identityv1.CredentialIssued:
		return p.GetCredential()
	case *identityv1.CredentialExpirySet:
		return p.GetCredential()
	case *identityv1.CredentialRevoked:
		return p.GetCredential()
	case *identityv1.ApplicationChanged:
		return p.GetApplication()
	case *identityv1.ApplicationDeleted:
		return p.GetApplication()
	case *identityv1.AccountClosed:
		return p.GetAccount()
	}
	return ""
}

func document(c store.GatewayCredential, revision uint64) *gatewayv1.CredentialDocument {
	d := &gatewayv1.CredentialDocument{
		Revision: revision, Tenant: c.Tenant, Account: c.Account, Application: c.Application, Credential: c.ID,
		Kind: c.Kind, Revoked: c.Void, Roles: c.Roles,
	}
	if c.Kind == domain.APIKey {
		d.Scopes = c.Scopes // tokens carry their own
	}
	if c.ExpiresAt != nil {
		d.ExpiresAt = c.ExpiresAt.Unix()
	}
	return d
}
