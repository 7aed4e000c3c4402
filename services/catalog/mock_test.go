package catalog_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/postgres"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// keptMocks returns the number of versions of which mock answers are kept; forget deletes them.
func (f fixture) keptMocks(t *testing.T, forget bool) (n int) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 1})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.InTenant(t.Context(), "*", func(tx pgx.Tx) error {
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM mocks`).Scan(&n); err != nil || !forget {
			return err
		}
		_, err := tx.Exec(t.Context(), `DELETE FROM mocks`)
		return err
	}))
	return n
}

func TestMockAnswersAreKept(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("PUT", "/catalog/v1/apis/weather", `{"spec":{"title":"W"}}`, nil)
	const path = "/catalog/v1/api-versions/weather-v1"
	put := func(stage, prefix string) (v version) {
		f.admin.Must("PUT", path, `{"api":"weather","spec":`+versionSpec(t, stage, prefix, "")+`}`, &v)
		return v
	}
	mocked := func(prefix string) func(*gatewayv1.APIDocument) bool {
		return func(d *gatewayv1.APIDocument) bool {
			return d.GetRoute().GetPrefix() == prefix && len(d.GetMocks()) > 0
		}
	}
	for _, register := range []string{"mocked", "draft"} {
		f.admin.Must("PUT", "/catalog/v1/api-versions/"+register+"-v1", `{"api":"weather","spec":`+versionSpec(t, register, "/"+register, "")+`}`, nil)
	}
	require.Equal(t, 1, f.keptMocks(t, false), "when it is registered")
	f.admin.Must("POST", "/catalog/v1/api-versions/draft-v1/stage", `{"stage":"mocked"}`, nil)
	require.Equal(t, 2, f.keptMocks(t, false), "when the stage changes")
	v := put("draft", "/weather/v1")
	put("mocked", "/weather/v1")
	// Once the last one's document is there, the follower makes none again that are taken away here.
	first := f.gatewayDocument(t, v.ID, mocked("/weather/v1"))
	require.Equal(t, 3, f.keptMocks(t, true), "when it is configured so")

	// As versions are of which none were kept: they are made once more.
	put("mocked", "/weather/v2")
	d := f.gatewayDocument(t, v.ID, mocked("/weather/v2"))
	require.Len(t, d.GetMocks(), len(first.GetMocks()))
	require.Equal(t, 1, f.keptMocks(t, false))
}

// Earlier releases took versions that are refused now, or that gateways refused.
func TestVersionsFromBeforeAreServed(t *testing.T) {
	t.Parallel()
	f := start(t)
	spec := &catalogv1.APIVersionSpec{
		Stage: "mocked", Route: &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/before"}, Openapi: "no OpenAPI document of today's",
		Upstream: &catalogv1.Upstream{Targets: []*catalogv1.Target{{Url: "http://127.0.0.1:1"}}, Retries: &catalogv1.Retries{Attempts: 10, On: []string{"connect"}}},
	}
	registerBefore(t, f.log(t), "t1", &catalogv1.APIVersionRegistered{
		ApiVersion: "before", Api: "api-before", Name: "before", Spec: spec, Operations: []*catalogv1.Operation{{Id: "getA", Method: "GET", Path: "/a"}},
	})
	f.admin.Must("PUT", "/catalog/v1/apis/other", `{"spec":{"title":"Wakes the relay"}}`, nil)
	d := f.gatewayDocument(t, "before", func(d *gatewayv1.APIDocument) bool { return len(d.GetMocks()) == 1 })
	require.Equal(t, uint32(200), d.GetMocks()[0].GetStatus())
	require.Equal(t, "getA", d.GetMocks()[0].GetOperation())
	require.Equal(t, uint32(5), d.GetUpstream().GetRetries().GetAttempts(), "gateways take no more")
}
