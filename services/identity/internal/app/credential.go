package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

func (i *Identity) credential(e *identityv1.CredentialIssued) store.Credential {
	c := store.Credential{
		ID: e.GetCredential(), Kind: e.GetKind(), Title: e.GetTitle(), Prefix: e.GetPrefix(), Scopes: e.GetScopes(),
		ClientID: e.GetClientId(), Issuer: e.GetIssuer(), CreatedAt: i.now(),
	}
	if e.GetExpiresAt() != 0 {
		c.ExpiresAt = timePointer(time.Unix(e.GetExpiresAt(), 0))
	}
	return c
}

// IssuedCredential is a credential as it is shown once.
type IssuedCredential struct {
	store.Credential
	// Key is the API key itself, ClientSecret that of an OAuth client. They are not kept: empty when the command was repeated.
	Key          string `json:"key,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
}

// CredentialRequest says what credential to issue.
type CredentialRequest struct {
	// Kind is apiKey when empty.
	Kind, Title string
	Scopes      []string
	// Issuer and Client are for the kind jwt.
	Issuer, Client string
	Expires        time.Time
}

// IssueCredential gives an application a credential.
func (i *Identity) IssueCredential(ctx context.Context, application string, r CredentialRequest) (IssuedCredential, error) {
	if r.Kind == "" {
		r.Kind = domain.APIKey
	}
	if actor(ctx).Account != "" && (len(r.Scopes) > 0 || r.Kind == domain.JWT) {
		return IssuedCredential{}, problem.NewDenied("granted-by-provider", "Scopes, and clients of other issuers, are given by members of the tenant.")
	}
	fresh := domain.NewCredential{
		Kind: r.Kind, Title: r.Title, Expires: r.Expires, Scopes: r.Scopes, ClientID: r.Client, Issuer: r.Issuer,
	}
	if r.Client != "" && r.Kind != domain.JWT {
		return IssuedCredential{}, problem.NewInvalid("credential-invalid", "The credential is not valid.").With(problem.Field{
			Path: "client", Message: "belongs to credentials of the kind jwt only; leave it out",
		})
	}
	if r.Kind == domain.OAuth2 {
		fresh.ClientID = clientPrefix + newSecret()[:clientIDLength]
	}
	return i.issue(ctx, application, fresh, func(a domain.Application, account domain.Account, n domain.NewCredential) ([]proto.Message, error) {
		return a.Issue(account, n, i.now())
	})
}

// RotateCredential issues a new secret in place of one, which stays valid for the overlap.
func (i *Identity) RotateCredential(ctx context.Context, application, credential string, expires time.Time, overlap time.Duration) (IssuedCredential, error) {
	return i.issue(ctx, application, domain.NewCredential{Expires: expires}, func(a domain.Application, account domain.Account, n domain.NewCredential) ([]proto.Message, error) {
		return a.Rotate(account, credential, n, overlap, i.now())
	})
}

const (
	keyPrefix = "tg_"
	// clientPrefix starts the ids of OAuth clients.
	clientPrefix = "tgc_"
	// clientIDLength is that of the random part: 116 bits.
	clientIDLength = 20
	// prefixLength is how much of a secret is kept in clear, to recognize it by.
	prefixLength = 10
)

func (i *Identity) issue(ctx context.Context, application string, fresh domain.NewCredential, decide func(domain.Application, domain.Account, domain.NewCredential) ([]proto.Message, error)) (IssuedCredential, error) {
	secret := keyPrefix + newSecret()
	fresh.ID = newID()
	if fresh.Kind != domain.JWT {
		fresh.Prefix, fresh.SHA256 = secret[:prefixLength], hash(secret)
	}
	result, err := executeResult(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Credential, error) {
		_, events, err := i.command(ctx, tx, application, func(a domain.Application, account domain.Account) ([]proto.Message, error) {
			return decide(a, account, fresh)
		})
		if err != nil {
			return store.Credential{}, err
		}
		return i.credential(events[0].(*identityv1.CredentialIssued)), nil
	})
	if postgres.Violates(err, "credentials_client") {
		err = problem.NewConflict("client-exists", "There is a credential for the client %s of this issuer already; revoke that one first.", fresh.ClientID)
	}
	issued := IssuedCredential{Credential: result.Value}
	if err != nil || result.Replayed {
		return issued, err
	}
	switch issued.Kind {
	case domain.APIKey:
		issued.Key = secret
	case domain.OAuth2:
		issued.ClientSecret = secret
	}
	return issued, nil
}

// RevokeCredential makes a credential void at once.
func (i *Identity) RevokeCredential(ctx context.Context, application, credential string) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		_, _, err := i.command(ctx, tx, application, func(a domain.Application, _ domain.Account) ([]proto.Message, error) { return a.Revoke(credential) })
		return struct{}{}, err
	})
	return err
}

// Credentials returns an application's credentials, without their keys.
func (i *Identity) Credentials(ctx context.Context, application string) ([]store.Credential, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) ([]store.Credential, error) {
		row, err := findApplication(ctx, tx, application)
		if err != nil {
			return nil, applicationNotFound(err, application)
		}
		return store.Credentials(ctx, tx, tenant, row.ID)
	})
}
