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
	"math/big"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// Identity has the use cases. It is safe for concurrent use.
type Identity struct {
	log   *eventlog.Log
	db    *postgres.DB
	clock func() time.Time
	seal  *seal.Seal
	keys  *signingKeys
}

// New returns the use cases over a database and its log. seal protects private keys at rest.
func New(log *eventlog.Log, db *postgres.DB, clock func() time.Time, seal *seal.Seal) *Identity {
	return &Identity{log: log, db: db, clock: clock, seal: seal, keys: &signingKeys{}}
}

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
