// Package app has catalog's use cases: load the aggregate, let the domain decide, append the events and write the tables
// in one transaction. Who acts, and in which tenant, comes with the context (libs/principal); the transaction sees that
// tenant alone.
package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/inspect"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// reading is how many bytes of documents are read at once: reading takes up to fifty times as much memory.
const reading = document.MaxBytes

// Options of the use cases.
type Options struct {
	// Inspect compares and checks documents.
	Inspect *inspect.Runner
	Log     *slog.Logger
	// AllowPrivateReferences lets documents refer to documents at loopback and private addresses.
	AllowPrivateReferences bool
}

// Catalog has the use cases. It is safe for concurrent use.
type Catalog struct {
	log     *eventlog.Log
	db      *postgres.DB
	options Options
	inspect *inspect.Runner
	logger  *slog.Logger
	reading *semaphore.Weighted
}

// New returns the use cases over a database and its log.
func New(log *eventlog.Log, db *postgres.DB, o Options) *Catalog {
	return &Catalog{log: log, db: db, options: o, inspect: o.Inspect, logger: o.Log, reading: semaphore.NewWeighted(reading)}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// change is one command on its way: its transaction and what it has come upon.
type change struct {
	*eventlog.Tx
	tenant string
	// actor and reason are those of the events.
	actor, reason string
	// documents were read before the transaction began.
	documents documents
	// products whose API versions have changed.
	products map[string]bool
}

// execute runs one command in a transaction.
func execute[R any](ctx context.Context, c *Catalog, read documents, fn func(ctx context.Context, ch *change) (R, error)) (R, error) {
	return service.Execute(ctx, c.log, func(ctx context.Context, tx *eventlog.Tx) (R, error) {
		p, _ := principal.From(ctx)
		ch := &change{Tx: tx, tenant: p.Tenant, actor: p.Subject, reason: principal.CommandFrom(ctx).Reason, documents: read, products: map[string]bool{}}
		result, err := fn(ctx, ch)
		if err == nil {
			err = ch.checkMeters(ctx)
		}
		return result, err
	})
}

// record appends what was decided and writes it to the tables.
func (ch *change) record(ctx context.Context, streamType, streamID string, version uint64, events []proto.Message) error {
	ch.Append(streamType, streamID, version, events...)
	for _, e := range events {
		err := store.Project(ctx, ch, store.Fact{Tenant: ch.tenant, At: ch.Now(), Actor: ch.actor, Reason: ch.reason, Payload: e})
		if err != nil {
			return refusal(err)
		}
	}
	return nil
}

// refusal gives what the database refuses its kind.
func refusal(err error) error {
	for _, name := range []string{"apis_name", "api_versions_name", "products_name", "plans_name", "rulesets_tenant"} {
		if postgres.Violates(err, name) {
			// Somebody else was faster with the name: start again and find theirs.
			return errors.Join(eventlog.ErrConflict, err)
		}
	}
	var taken *store.RouteTaken
	if !errors.As(err, &taken) {
		return err
	}
	by := "another provider of this installation, to whom paths below " + firstSegment(taken.Prefix) + " there belong for good; choose another host, or another first segment of the prefix"
	if taken.Version != "" {
		by = "the API version " + taken.Version + "; retire that one, or choose another host or prefix"
	}
	return problem.NewConflict("route-taken", "The API version's route is taken.").With(problem.Field{
		Path: "spec.route", Message: "the prefix " + taken.Prefix + " on the host " + taken.Host + " is taken by " + by,
	})
}

// firstSegment names what belongs to a tenant of the paths below a prefix.
func firstSegment(prefix string) string { return "/" + domain.FirstSegment(prefix) }

// checkMeters refuses changes of API versions and products that leave a plan without a meter that it goes by. It comes
// last, so that one apply may change them together.
func (ch *change) checkMeters(ctx context.Context) error {
	for product := range ch.products {
		meters, err := store.Meters(ctx, ch, product)
		if err != nil {
			return err
		}
		err = plansOf(ctx, ch, ch.tenant, product, resource.Metadata{}, func(p store.Plan) error {
			if p.Retired {
				return nil
			}
			return domain.CheckMeters(p.Product, p.Name, p.Spec.Message, meters)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// load reads an aggregate from the log, with its version.
func load[S any](ctx context.Context, ch *change, streamType, id string, zero S, evolve func(S, proto.Message) S) (S, uint64, error) {
	history, err := ch.Load(ctx, streamType, id)
	return eventlog.Fold(history, zero, evolve), uint64(len(history)), err
}

// read runs fn in a transaction of the acting tenant.
func read[R any](ctx context.Context, c *Catalog, fn func(tx pgx.Tx, tenant string) (R, error)) (R, error) {
	var result R
	p, ok := principal.From(ctx)
	if !ok {
		return result, problem.NewUnauthenticated("token-missing", "Nobody is known to act here.")
	}
	err := c.db.InTenant(ctx, p.Tenant, func(tx pgx.Tx) error {
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

// missing turns a row that is not there into the problem of a field that names it.
func missing(err error, code, title, path, message string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewInvalid(code, "%s", title).With(problem.Field{Path: path, Message: message})
	}
	return err
}

func checkName(name, code, title string) error {
	if err := resource.CheckName(name); err != nil {
		return problem.NewInvalid(code, "%s", title).With(problem.Field{Path: "metadata.name", Message: err.Error()})
	}
	return nil
}
