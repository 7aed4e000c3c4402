// Package app has identity's use cases: load the aggregate, let the domain decide, append the events and write the tables
// in one transaction. Who acts, and in which tenant, comes with the context (libs/principal); the transaction sees that
// tenant alone.
package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/identity/internal/password"
	"github.com/tollgate/tollgate/services/identity/internal/provider"
)

// Identity has the use cases. It is safe for concurrent use.
type Identity struct {
	log    *eventlog.Log
	db     *postgres.DB
	clock  func() time.Time
	seal   *seal.Seal
	keys   *signingKeys
	config Config

	logger    *slog.Logger
	outbox    *notify.Outbox
	passwords *password.Hasher
	providers *provider.Client
	// wake tells Run that there is something to do.
	wake chan struct{}
}

// Config of the use cases.
type Config struct {
	// Issuer is identity's base address as clients see it, and the issuer of applications' access tokens.
	Issuer string
	// AccessTokenLifetime is that of applications' access tokens.
	AccessTokenLifetime time.Duration
	// SessionLifetime is how long a session goes on at most, SessionIdle how long without being used.
	SessionLifetime, SessionIdle time.Duration
	// SSOAllowPrivate lets OpenID providers be at loopback and private addresses.
	SSOAllowPrivate bool
	// WebURL is the address of the console, for links in mails; empty for none.
	WebURL string
}

// Deps is what the use cases are given. Seal protects secrets at rest.
type Deps struct {
	Log   *eventlog.Log
	DB    *postgres.DB
	Clock func() time.Time
	Seal  *seal.Seal
	// Outbox takes mail.
	Outbox *notify.Outbox
	Logger *slog.Logger
}

// New returns the use cases over a database and its log.
func New(d Deps, c Config) *Identity {
	return &Identity{
		log: d.Log, db: d.DB, clock: d.Clock, seal: d.Seal, keys: &signingKeys{}, config: c, logger: d.Logger, outbox: d.Outbox,
		passwords: password.NewHasher(), providers: provider.New(d.Clock, c.SSOAllowPrivate), wake: make(chan struct{}, 1),
	}
}

// Issuer returns the issuer of applications' access tokens.
func (i *Identity) Issuer() string { return i.config.Issuer }

// now is the time of the command, in the resolution that Postgres keeps.
func (i *Identity) now() time.Time { return i.clock().UTC().Truncate(time.Microsecond) }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// secretAlphabet has no characters that look alike.
const secretAlphabet = "23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"

// newSecret returns 40 random characters: 232 bits.
func newSecret() string {
	secret := make([]byte, 40)
	for i := range secret {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(secretAlphabet))))
		if err != nil {
			panic(fmt.Sprintf("the system's random source failed: %s", err)) // documented never to happen
		}
		secret[i] = secretAlphabet[n.Int64()]
	}
	return string(secret)
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// read runs fn in a transaction of the acting tenant.
func read[R any](ctx context.Context, i *Identity, fn func(tx pgx.Tx, tenant string) (R, error)) (R, error) {
	var result R
	p, ok := principal.From(ctx)
	if !ok {
		return result, problem.NewUnauthenticated("token-missing", "Nobody is known to act here.")
	}
	err := i.db.InTenant(ctx, p.Tenant, func(tx pgx.Tx) error {
		var err error
		result, err = fn(tx, p.Tenant)
		return err
	})
	return result, err
}

// readAll runs fn in a transaction that sees all tenants, for those who act before they are known.
func readAll[R any](ctx context.Context, i *Identity, fn func(tx pgx.Tx) (R, error)) (R, error) {
	var result R
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		result, err = fn(tx)
		return err
	})
	return result, err
}

// execute runs a command in one transaction of the log, and notes for the audit from where it came.
func execute[R any](ctx context.Context, i *Identity, fn func(ctx context.Context, tx *eventlog.Tx) (R, error)) (R, error) {
	result, err := executeResult(ctx, i, fn)
	return result.Value, err
}

// executeResult is execute for commands that must know whether they were replayed.
func executeResult[R any](ctx context.Context, i *Identity, fn func(ctx context.Context, tx *eventlog.Tx) (R, error)) (eventlog.Result[R], error) {
	return service.ExecuteResult(ctx, i.log, fn)
}

// notFound turns a row that is not there into a problem.
func notFound(err error, code, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound(code, format, args...)
	}
	return err
}

func actor(ctx context.Context) principal.Principal {
	p, _ := principal.From(ctx)
	return p
}

func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
