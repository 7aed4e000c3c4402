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
	d.Meters = slices.Sorted(maps.Keys(spec.GetMeters()))
	operations, err := store.Operations(ctx, tx, v.ID, 0, document.MaxOperations)
	if err != nil {
		return nil, err
	}
	for _, o := range operations {
		d.Operations = append(d.Operations, &catalogv1.Operation{
			Id: o.ID, Method: o.Method, Path: o.Path, Summary: o.Summary, Deprecated: o.Deprecated,
		})
	}
	if domain.Validates(spec) {
		d.Openapi, err = store.Document(ctx, tx, v.ID)
	}
	return d, err
}
