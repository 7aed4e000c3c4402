package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

const (
	versionInvalid = "api-version-invalid"
	versionTitle   = "The API version is not valid."
)

// documents are the outcomes of reading documents of new versions, by the version's name.
type documents map[string]readDocument

type readDocument struct {
	document document.Document
	err      error
}

// read reads the documents of versions that are not registered yet, by their names. It is done before the transaction,
// which would hold its locks meanwhile.
func (c *Catalog) read(ctx context.Context, specs map[string]*catalogv1.APIVersionSpec) (documents, error) {
	all := documents{}
	if len(specs) == 0 {
		return all, nil
	}
	registered, err := read(ctx, c, func(tx pgx.Tx, tenant string) (map[string]domain.Reference, error) {
		return store.References(ctx, tx, tenant, slices.Collect(maps.Keys(specs)))
	})
	if err != nil {
		return nil, err
	}
	for name, spec := range specs {
		if _, known := registered[name]; known || spec.GetOpenapi() == "" {
			continue
		}
		d, err := c.readOne(ctx, spec.GetOpenapi(), domain.Validates(spec))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		all[name] = readDocument{d, err}
	}
	return all, nil
}

func (c *Catalog) readOne(ctx context.Context, text string, validating bool) (document.Document, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
		return document.Read(ctx, text, validating)
	case <-ctx.Done():
		return document.Document{}, ctx.Err()
	}
}

// PutAPIVersion registers the version of that name, or configures it as the spec says.
func (c *Catalog) PutAPIVersion(ctx context.Context, api, name string, spec *catalogv1.APIVersionSpec) (store.APIVersion, error) {
	documents, err := c.read(ctx, map[string]*catalogv1.APIVersionSpec{name: spec})
	if err != nil {
		return store.APIVersion{}, err
	}
	return execute(ctx, c, documents, func(ctx context.Context, ch *change) (store.APIVersion, error) {
		if _, err := ch.putAPIVersion(ctx, api, name, spec); err != nil {
			return store.APIVersion{}, err
		}
		return store.FindAPIVersion(ctx, ch, ch.tenant, name)
	})
}

// putAPIVersion returns the version as it was before, nil for none.
func (ch *change) putAPIVersion(ctx context.Context, api, name string, spec *catalogv1.APIVersionSpec) (*store.APIVersion, error) {
	if err := checkName(name, versionInvalid, versionTitle); err != nil {
		return nil, err
	}
	owner, err := store.FindAPI(ctx, ch, ch.tenant, api)
	if err != nil {
		return nil, missing(err, versionInvalid, versionTitle, "metadata.api", "there is no API "+strconv.Quote(api)+"; name one that exists")
	}
	row, err := store.FindAPIVersion(ctx, ch, ch.tenant, name)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ch.register(ctx, owner.ID, name, spec)
	case err != nil:
		return nil, err
	case row.APIID != owner.ID:
		return nil, problem.NewConflict("api-version-exists", "The API version %s belongs to the API %s.", name, row.API)
	}
	if domain.Validates(spec) && !domain.Validates(row.Spec.Message) {
		if err := ch.checkStored(ctx, row.ID); err != nil {
			return nil, err
		}
	}
	v, version, err := loadVersion(ctx, ch, row.ID)
	if err != nil {
		return nil, err
	}
	events, err := v.Put(spec)
	if err != nil {
		return nil, err
	}
	return &row, ch.recordVersion(ctx, row.ID, version, events)
}

// checkStored says whether requests can be validated against the document that a version was registered with.
func (ch *change) checkStored(ctx context.Context, id string) error {
	text, err := store.Document(ctx, ch, id)
	if err != nil {
		return err
	}
	_, err = document.Read(ctx, text, true)
	return err
}

func (ch *change) register(ctx context.Context, api, name string, spec *catalogv1.APIVersionSpec) error {
	if spec.GetOpenapi() == "" {
		return problem.NewInvalid(versionInvalid, "%s", versionTitle).With(problem.Field{
			Path: document.Path, Message: "is missing; a version is registered with its OpenAPI document, as JSON or YAML",
		})
	}
	read := ch.documents[name]
	if read.err != nil {
		return read.err
	}
	if err := store.LockAPI(ctx, ch, api); err != nil { // against its deletion
		return err
	}
	a, _, err := loadAPI(ctx, ch, api)
	if err != nil {
		return err
	}
	id := newID()
	events, err := domain.RegisterAPIVersion(id, a, name, spec, read.document)
	if err != nil {
		return err
	}
	return ch.record(ctx, "api-version", id, 0, events)
}

func (ch *change) recordVersion(ctx context.Context, id string, version uint64, events []proto.Message) error {
	if err := ch.record(ctx, "api-version", id, version, events); err != nil || len(events) == 0 {
		return err
	}
	products, err := store.ProductsOf(ctx, ch, id)
	for _, p := range products {
		ch.products[p] = true
	}
	return err
}

// ChangeStage moves a version along its life cycle.
func (c *Catalog) ChangeStage(ctx context.Context, nameOrID, stage string) (store.APIVersion, error) {
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.APIVersion, error) {
		row, err := store.FindAPIVersion(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return row, versionNotFound(err, nameOrID)
		}
		v, version, err := loadVersion(ctx, ch, row.ID)
		if err != nil {
			return row, err
		}
		events, err := v.ChangeStage(stage)
		if err != nil {
			return row, err
		}
		if err := ch.record(ctx, "api-version", row.ID, version, events); err != nil {
			return row, err
		}
		return store.FindAPIVersion(ctx, ch, ch.tenant, row.ID)
	})
}

// APIVersion returns an API version by its name or id.
func (c *Catalog) APIVersion(ctx context.Context, nameOrID string) (store.APIVersion, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (store.APIVersion, error) {
		row, err := store.FindAPIVersion(ctx, tx, tenant, nameOrID)
		return row, versionNotFound(err, nameOrID)
	})
}

// APIVersions returns the versions of an API, or of all, in order of their name.
func (c *Catalog) APIVersions(ctx context.Context, api, after string, limit int) ([]store.APIVersion, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.APIVersion, error) {
		return store.APIVersions(ctx, tx, tenant, api, after, limit)
	})
}

// Document returns the OpenAPI document of a version as it was given.
func (c *Catalog) Document(ctx context.Context, nameOrID string) (string, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (string, error) {
		row, err := store.FindAPIVersion(ctx, tx, tenant, nameOrID)
		if err != nil {
			return "", versionNotFound(err, nameOrID)
		}
		return store.Document(ctx, tx, row.ID)
	})
}

// Operations returns operations of a version in their order, after a number.
func (c *Catalog) Operations(ctx context.Context, nameOrID string, after, limit int) ([]store.Operation, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.Operation, error) {
		row, err := store.FindAPIVersion(ctx, tx, tenant, nameOrID)
		if err != nil {
			return nil, versionNotFound(err, nameOrID)
		}
		return store.Operations(ctx, tx, row.ID, after, limit)
	})
}

func loadVersion(ctx context.Context, ch *change, id string) (domain.APIVersion, uint64, error) {
	return load(ctx, ch, "api-version", id, domain.APIVersion{}, domain.APIVersion.Evolve)
}

func versionNotFound(err error, nameOrID string) error {
	return notFound(err, "api-version-not-found", "There is no API version %q.", nameOrID)
}
