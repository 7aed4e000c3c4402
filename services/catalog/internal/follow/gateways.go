// Package follow has what catalog makes of event streams: of its own, the documents that gateways read.
package follow

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/documents"
	"github.com/tollgate/tollgate/libs/eventlog"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// Documents writes the documents of the API versions that an event of catalog's own log changes, as they are now. That may
// be ahead of the event; the events in between write them again.
func Documents(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	id := changed(e.Payload)
	if id == "" {
		return nil
	}
	versions, err := store.GatewayVersions(ctx, tx, id)
	if err != nil {
		return err
	}
	for _, v := range versions {
		d, err := compile(ctx, tx, v, e.Position)
		if err != nil {
			return err
		}
		if err := documents.Put(ctx, tx, bus.APIsBucket, v.ID, e.Position, d); err != nil {
			return err
		}
	}
	return nil
}

// changed returns the id of the API version or product whose documents an event changes.
func changed(payload proto.Message) string {
	switch p := payload.(type) {
	case *catalogv1.APIVersionRegistered:
		return p.GetApiVersion()
	case *catalogv1.APIVersionConfigured:
		return p.GetApiVersion()
	case *catalogv1.APIVersionStageChanged:
		return p.GetApiVersion()
	case *catalogv1.ProductCreated:
		return p.GetProduct()
	case *catalogv1.ProductChanged:
		return p.GetProduct()
	}
	return ""
}

func compile(ctx context.Context, tx pgx.Tx, v store.GatewayVersion, revision uint64) (*gatewayv1.APIDocument, error) {
	d := &gatewayv1.APIDocument{
		Revision: revision, Tenant: v.Tenant, Api: v.APIID, ApiName: v.API, ApiVersion: v.ID, VersionName: v.Name,
		Stage: v.Stage, Products: v.Products, Removed: !domain.Live(v.Stage),
	}
	if d.GetRemoved() {
		return d, nil
	}
	spec := v.Spec.Message
	d.Route, d.Upstream, d.Authenticate, d.Policies = spec.GetRoute(), spec.GetUpstream(), spec.GetAuthenticate(), spec.GetPolicies()
	if r := d.GetUpstream().GetRetries(); r.GetAttempts() > domain.MaxAttempts { // of before that was the most
		r.Attempts = domain.MaxAttempts
	}
	d.Issuers = spec.GetIssuers()
	d.Meters = slices.Sorted(maps.Keys(spec.GetMeters()))
	deprecate(d, v)
	operations, err := store.Operations(ctx, tx, v.ID, 0, document.MaxOperations)
	if err != nil {
		return nil, err
	}
	for _, row := range operations {
		o := row.Message()
		if a := domain.AccessOf(spec, o); a != nil {
			d.Access = append(d.Access, a)
		}
		o.Security = nil // which access says
		d.Operations = append(d.Operations, o)
	}
	return d, withDocument(ctx, tx, d, v)
}

// deprecate says since when the version is deprecated, and its end.
func deprecate(d *gatewayv1.APIDocument, v store.GatewayVersion) {
	if v.Stage != domain.Deprecated {
		return
	}
	if v.DeprecatedAt != nil {
		d.DeprecatedAt = v.DeprecatedAt.Unix()
	}
	if v.SunsetAt != nil {
		d.SunsetAt = v.SunsetAt.Unix()
	}
	d.DeprecationLink = v.Spec.Message.GetDeprecationLink()
}

// plainDocument is the size up to which an OpenAPI document travels as it is, in bytes.
const plainDocument = 64 << 10

// withDocument adds what is made of the OpenAPI document, for versions that need it.
func withDocument(ctx context.Context, tx pgx.Tx, d *gatewayv1.APIDocument, v store.GatewayVersion) error {
	mocked, validated := v.Stage == domain.Mocked, domain.Validates(v.Spec.Message)
	if mocked {
		var err error
		if d.Mocks, err = mocks(ctx, tx, d, v); err != nil {
			return err
		}
	}
	if !validated {
		return nil
	}
	text, err := store.Document(ctx, tx, v.ID)
	if err != nil {
		return err
	}
	if len(text) <= plainDocument {
		d.Openapi = text
		return nil
	}
	d.OpenapiGzip, err = document.Compress(text)
	return err
}

// mocks returns the mock answers that were kept when the version became mocked. Of versions from before they were kept they are made;
// where that is not possible any more, empty ones must do, because there is nobody who could be told.
func mocks(ctx context.Context, tx pgx.Tx, d *gatewayv1.APIDocument, v store.GatewayVersion) ([]*gatewayv1.MockAnswer, error) {
	answers, err := store.Mocks(ctx, tx, v.ID)
	if err != nil || len(answers) > 0 {
		return answers, err
	}
	text, err := store.Document(ctx, tx, v.ID)
	if err != nil {
		return nil, err
	}
	doc, err := document.Load(ctx, text)
	if err == nil {
		answers, err = document.Mocks(ctx, doc)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		answers = document.EmptyMocks(d.GetOperations())
	}
	return answers, store.KeepMocks(ctx, tx, v.Tenant, v.ID, answers)
}
