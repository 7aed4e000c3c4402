// Package follow has what identity makes of event streams: of its own, the documents that gateways and services read.
package follow

import (
	"context"
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
	id := changed(e.Payload)
	if id == "" {
		return nil
	}
	credentials, err := store.GatewayCredentials(ctx, tx, id)
	if err != nil {
		return err
	}
	for _, c := range credentials {
		if err := documents.Put(ctx, tx, bus.CredentialsBucket, hex.EncodeToString(c.SHA256), e.Position, document(c, e.Position)); err != nil {
			return err
		}
	}
	return nil
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
		Kind: c.Kind, Revoked: c.Void,
	}
	if c.ExpiresAt != nil {
		d.ExpiresAt = c.ExpiresAt.Unix()
	}
	return d
}
