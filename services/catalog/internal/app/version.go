package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
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
	// document of a new version; of one that is registered its mock answers alone, if it is to be mocked.
	document document.Document
	lint     *catalogv1.LintSummary
	// validating: requests can be validated against the document.
	validating bool
	err        error
}

// read reads the documents of versions that are not registered yet, by their names, and looks whether those of others can be mocked
// or validated against, where they are to be and were not before. It is done before the transaction, which would hold its locks
// meanwhile.
//
// rules are those that new documents are checked against; nil for none.
func (c *Catalog) read(ctx context.Context, specs map[string]*catalogv1.APIVersionSpec, rules *catalogv1.RulesetSpec) (documents, error) {
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
		_, exists := registered[name]
		switch {
		case exists:
			all[name] = c.readStored(ctx, name, spec)
		case spec.GetOpenapi() != "":
			all[name] = c.readNew(ctx, spec, rules)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return all, nil
}

// readNew reads the document of a version that is being registered.
func (c *Catalog) readNew(ctx context.Context, spec *catalogv1.APIVersionSpec, rules *catalogv1.RulesetSpec) readDocument {
	text, err := document.Unpack(spec.GetOpenapi())
	if err != nil {
		return readDocument{err: err}
	}
	o := document.Options{Validating: domain.Validates(spec), Mocked: spec.GetStage() == domain.Mocked}
	if hosts := spec.GetExternalReferences(); len(hosts) > 0 {
		if err := domain.CheckReferenceHosts(hosts); err != nil {
			return readDocument{err: err}
		}
		o.References = document.NewReferences(hosts, c.options.AllowPrivateReferences)
	}
	d, err := c.readDocument(ctx, text, o)
	if err != nil {
		return readDocument{err: err}
	}
	lint, err := c.lintNew(ctx, rules, d.Text)
	return readDocument{document: d, lint: lint, validating: o.Validating, err: err}
}

// readStored reads the document of a registered version, if the specification asks for more of it than the version did before.
func (c *Catalog) readStored(ctx context.Context, nameOrID string, spec *catalogv1.APIVersionSpec) readDocument {
	var o document.Options
	text, err := read(ctx, c, func(tx pgx.Tx, tenant string) (string, error) {
		row, err := store.FindAPIVersion(ctx, tx, tenant, nameOrID)
		if err != nil {
			return "", versionNotFound(err, nameOrID)
		}
		o.Mocked = spec.GetStage() == domain.Mocked && row.Stage != domain.Mocked
		o.Validating = domain.Validates(spec) && !domain.Validates(row.Spec.Message)
		if !o.Mocked && !o.Validating {
			return "", nil
		}
		return store.Document(ctx, tx, row.ID)
	})
	if err != nil || text == "" {
		return readDocument{err: err}
	}
	if !o.Validating {
		mocks, err := c.mockStored(ctx, text)
		return readDocument{document: document.Document{Mocks: mocks}, err: err}
	}
	d, err := c.readDocument(ctx, text, o)
	return readDocument{document: document.Document{Mocks: d.Mocks}, validating: true, err: err}
}

// readDocument reads a document once its turn has come.
func (c *Catalog) readDocument(ctx context.Context, text string, o document.Options) (document.Document, error) {
	release, err := c.takeTurn(ctx, text)
	if err != nil {
		return document.Document{}, err
	}
	defer release()
	return document.Read(ctx, text, o)
}

// takeTurn waits until a document of this size may be read.
func (c *Catalog) takeTurn(ctx context.Context, text string) (release func(), err error) {
	size := min(int64(len(text)), reading)
	if err := c.reading.Acquire(ctx, size); err != nil {
		return nil, err
	}
	return func() { c.reading.Release(size) }, nil
}

// mockStored makes the mock answers of a document that a version was registered with.
func (c *Catalog) mockStored(ctx context.Context, text string) ([]*gatewayv1.MockAnswer, error) {
	release, err := c.takeTurn(ctx, text)
	if err != nil {
		return nil, err
	}
	defer release()
	doc, err := document.Load(ctx, text)
	if err != nil {
		return nil, err
	}
	return document.Mocks(ctx, doc)
}

// PutAPIVersion registers the version of that name, or configures it as the spec says.
func (c *Catalog) PutAPIVersion(ctx context.Context, api, name string, spec *catalogv1.APIVersionSpec) (store.APIVersion, error) {
	rules, err := c.rules(ctx)
	if err != nil {
		return store.APIVersion{}, err
	}
	documents, err := c.read(ctx, map[string]*catalogv1.APIVersionSpec{name: spec}, rules)
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
	read := ch.documents[name]
	switch {
	case read.err != nil:
		return nil, read.err
	case domain.Validates(spec) && !domain.Validates(row.Spec.Message) && !read.validating:
		return nil, eventlog.ErrConflict // the version was changed since its document was looked at
	}
	v, version, err := loadVersion(ctx, ch, row.ID)
	if err != nil {
		return nil, err
	}
	var operations []*catalogv1.Operation
	if len(spec.GetAccess()) > 0 {
		if operations, err = ch.operations(ctx, row.ID); err != nil {
			return nil, err
		}
	}
	given, err := unpacked(spec)
	if err != nil {
		return nil, err
	}
	events, err := v.Put(given, operations, ch.Now())
	if err != nil {
		return nil, err
	}
	if err := ch.recordVersion(ctx, v, version, events); err != nil {
		return nil, err
	}
	return &row, ch.keepMocks(ctx, row.ID, read.document.Mocks)
}

// unpacked returns the specification with its document as it is.
func unpacked(spec *catalogv1.APIVersionSpec) (*catalogv1.APIVersionSpec, error) {
	text, err := document.Unpack(spec.GetOpenapi())
	if err != nil || text == spec.GetOpenapi() {
		return spec, err
	}
	given, _ := proto.Clone(spec).(*catalogv1.APIVersionSpec)
	given.Openapi = text
	return given, nil
}

func (ch *change) operations(ctx context.Context, id string) ([]*catalogv1.Operation, error) {
	rows, err := store.Operations(ctx, ch, id, 0, document.MaxOperations)
	operations := make([]*catalogv1.Operation, len(rows))
	for i, row := range rows {
		operations[i] = row.Message()
	}
	return operations, err
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
	events, err := domain.RegisterAPIVersion(id, a, name, spec, read.document, read.lint, ch.Now())
	if err != nil {
		return err
	}
	if err := ch.recordEvents(ctx, domain.APIVersion{}, 0, events); err != nil {
		return err
	}
	return ch.keepMocks(ctx, id, read.document.Mocks)
}

// keepMocks keeps the mock answers that were made of a version's document, if they were.
func (ch *change) keepMocks(ctx context.Context, id string, answers []*gatewayv1.MockAnswer) error {
	if len(answers) == 0 {
		return nil
	}
	return store.KeepMocks(ctx, ch, ch.tenant, id, answers)
}

func (ch *change) recordVersion(ctx context.Context, v domain.APIVersion, version uint64, events []proto.Message) error {
	if err := ch.recordEvents(ctx, v, version, events); err != nil || len(events) == 0 {
		return err
	}
	products, err := store.ProductsOf(ctx, ch, v.ID)
	for _, p := range products {
		ch.products[p] = true
	}
	return err
}

// ChangeStage moves a version along its life cycle.
func (c *Catalog) ChangeStage(ctx context.Context, nameOrID, stage string, e domain.Ending) (store.APIVersion, error) {
	var read readDocument
	if stage == domain.Mocked {
		if read = c.readStored(ctx, nameOrID, &catalogv1.APIVersionSpec{Stage: stage}); read.err != nil {
			return store.APIVersion{}, read.err
		}
	}
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.APIVersion, error) {
		row, err := store.FindAPIVersion(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return row, versionNotFound(err, nameOrID)
		}
		v, version, err := loadVersion(ctx, ch, row.ID)
		if err != nil {
			return row, err
		}
		events, err := v.ChangeStage(stage, e, ch.Now())
		if err != nil {
			return row, err
		}
		if err := ch.recordEvents(ctx, v, version, events); err != nil {
			return row, err
		}
		if err := ch.keepMocks(ctx, row.ID, read.document.Mocks); err != nil {
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
func (c *Catalog) APIVersions(ctx context.Context, api, search, after string, limit int) ([]store.APIVersion, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.APIVersion, error) {
		return store.APIVersions(ctx, tx, tenant, api, search, after, limit)
	})
}

// Document returns the OpenAPI document of a version, or the one that it was made of.
func (c *Catalog) Document(ctx context.Context, nameOrID string, original bool) (string, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (string, error) {
		row, err := store.FindAPIVersion(ctx, tx, tenant, nameOrID)
		if err != nil {
			return "", versionNotFound(err, nameOrID)
		}
		if original {
			return store.Original(ctx, tx, row.ID)
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
