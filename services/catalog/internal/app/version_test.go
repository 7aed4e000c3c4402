package app

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// newCatalog returns the use cases alone, and the context of somebody who acts.
func newCatalog(t *testing.T) (*Catalog, context.Context) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: testkit.Database(t, "catalog")})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	log, err := eventlog.New(db, eventlog.Config{Name: "catalog"})
	require.NoError(t, err)
	require.NoError(t, log.Migrate(t.Context()))
	require.NoError(t, audit.Migrate(t.Context(), db))
	require.NoError(t, db.Migrate(t.Context(), store.Migrations(), "tollgate_catalog_versions"))
	ctx := principal.With(t.Context(), principal.Principal{Tenant: "t1", Subject: "member:ann"})
	return New(log, db, Options{Log: testkit.Logger(t)}), ctx
}

// TestStoredDocumentsAreReadInTurn: while the memory for documents is taken, none is read, and no transaction waits for it.
func TestStoredDocumentsAreReadInTurn(t *testing.T) {
	t.Parallel()
	c, ctx := newCatalog(t)
	_, err := c.PutAPI(ctx, "a", &catalogv1.APISpec{Title: "A"})
	require.NoError(t, err)
	const text = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {responses: {default: {description: d}}}}}\n"
	plain := &catalogv1.APIVersionSpec{Openapi: text, Route: &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/a"}}
	_, err = c.PutAPIVersion(ctx, "a", "a-v1", plain)
	require.NoError(t, err)
	validating := &catalogv1.APIVersionSpec{Route: plain.GetRoute(), Policies: []*catalogv1.Policy{{Kind: "validate", Request: true}}}

	require.NoError(t, c.reading.Acquire(ctx, reading))
	for name, put := range map[string]func(context.Context) error{
		"validated": func(ctx context.Context) error {
			_, err := c.PutAPIVersion(ctx, "a", "a-v1", validating)
			return err
		},
		"mocked": func(ctx context.Context) error {
			_, err := c.ChangeStage(ctx, "a-v1", "mocked", domain.Ending{})
			return err
		},
	} {
		waits, cancel := context.WithTimeout(ctx, time.Second)
		require.ErrorIs(t, put(waits), context.DeadlineExceeded, name)
		cancel()
	}
	c.reading.Release(reading)
	v, err := c.PutAPIVersion(ctx, "a", "a-v1", validating)
	require.NoError(t, err)
	require.Len(t, v.Spec.Message.GetPolicies(), 1)
}
