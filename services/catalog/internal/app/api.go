package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// PutAPI makes the API of that name as the spec says.
func (c *Catalog) PutAPI(ctx context.Context, name string, spec *catalogv1.APISpec) (store.API, error) {
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.API, error) {
		if _, err := ch.putAPI(ctx, name, spec); err != nil {
			return store.API{}, err
		}
		return store.FindAPI(ctx, ch, ch.tenant, name)
	})
}

// putAPI returns the spec that the API had before, nil for none.
func (ch *change) putAPI(ctx context.Context, name string, spec *catalogv1.APISpec) (*catalogv1.APISpec, error) {
	if err := checkName(name, "api-invalid", "The API is not valid."); err != nil {
		return nil, err
	}
	row, err := store.FindAPI(ctx, ch, ch.tenant, name)
	if errors.Is(err, pgx.ErrNoRows) {
		id := newID()
		events, err := domain.CreateAPI(id, name, spec)
		if err != nil {
			return nil, err
		}
		return nil, ch.record(ctx, "api", id, 0, events)
	}
	if err != nil {
		return nil, err
	}
	a, version, err := loadAPI(ctx, ch, row.ID)
	if err != nil {
		return nil, err
	}
	events, err := a.Change(spec)
	if err != nil {
		return nil, err
	}
	return a.Spec, ch.record(ctx, "api", row.ID, version, events)
}

// DeleteAPI takes an API without versions away.
func (c *Catalog) DeleteAPI(ctx context.Context, nameOrID string) error {
	_, err := execute(ctx, c, nil, func(ctx context.Context, ch *change) (struct{}, error) {
		row, err := store.FindAPI(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return struct{}{}, apiNotFound(err, nameOrID)
		}
		if err := store.LockAPI(ctx, ch, row.ID); err != nil {
			return struct{}{}, err
		}
		versions, err := store.CountVersions(ctx, ch, ch.tenant, row.ID)
		if err != nil {
			return struct{}{}, err
		}
		a, version, err := loadAPI(ctx, ch, row.ID)
		if err != nil {
			return struct{}{}, err
		}
		var events []proto.Message
		if events, err = a.Delete(versions); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.record(ctx, "api", row.ID, version, events)
	})
	return err
}

// API returns an API by its name or id.
func (c *Catalog) API(ctx context.Context, nameOrID string) (store.API, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (store.API, error) {
		row, err := store.FindAPI(ctx, tx, tenant, nameOrID)
		return row, apiNotFound(err, nameOrID)
	})
}

// APIs returns APIs in order of their name.
func (c *Catalog) APIs(ctx context.Context, search, after string, limit int) ([]store.API, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.API, error) {
		return store.APIs(ctx, tx, tenant, search, after, limit)
	})
}

func loadAPI(ctx context.Context, ch *change, id string) (domain.API, uint64, error) {
	return load(ctx, ch, "api", id, domain.API{}, domain.API.Evolve)
}

func apiNotFound(err error, nameOrID string) error {
	return notFound(err, "api-not-found", "There is no API %q.", nameOrID)
}
