package provision_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/go-openapi/strfmt"
	"github.com/grafana/grafana-openapi-client-go/models"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/dashboards/provision"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// description checks requests against Grafana's description of its API, as the models that are generated from it have it: every body is
// one of the operation's model, with no field that it does not know, and fulfils its constraints. It remembers what was
// put, as far as the answers to later requests depend on it.
type description struct {
	t        *testing.T
	mu       sync.Mutex
	there    map[string]json.RawMessage // by path
	teams    map[string]int64
	requests []string
	fail     string // a request that is answered with 500
}

type validated interface {
	Validate(formats strfmt.Registry) error
}

// body reads the body of a request into a model.
func (d *description) body(r *http.Request, into validated) json.RawMessage {
	raw, err := io.ReadAll(r.Body)
	require.NoError(d.t, err)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	require.NoError(d.t, decoder.Decode(into), "%s %s: %s", r.Method, r.URL.Path, raw)
	require.NoError(d.t, into.Validate(strfmt.Default), "%s %s: %s", r.Method, r.URL.Path, raw)
	return raw
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

type object = map[string]any

// get answers for something that may be there.
func (d *description) get(w http.ResponseWriter, r *http.Request) {
	if _, there := d.there[r.URL.Path]; !there {
		answer(w, 404, object{"message": "not found"})
		return
	}
	answer(w, 200, object{"uid": r.PathValue("uid")})
}

// put takes something that is there from now on, or must be there already.
func (d *description) put(w http.ResponseWriter, r *http.Request, path string, model validated, status int) {
	raw := d.body(r, model)
	_, there := d.there[path]
	require.Equal(d.t, r.Method == http.MethodPut, there, "%s %s", r.Method, path)
	d.there[path] = raw
	answer(w, status, object{})
}

func (d *description) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /grafana/api/datasources/uid/{uid}", d.get)
	mux.HandleFunc("GET /grafana/api/folders/{uid}", d.get)
	mux.HandleFunc("GET /grafana/api/v1/provisioning/alert-rules/{uid}", d.get)
	mux.HandleFunc("POST /grafana/api/datasources", func(w http.ResponseWriter, r *http.Request) {
		var m models.AddDataSourceCommand
		d.body(peek(r), &m)
		d.put(w, r, "/grafana/api/datasources/uid/"+m.UID, &m, 200)
	})
	mux.HandleFunc("PUT /grafana/api/datasources/uid/{uid}", func(w http.ResponseWriter, r *http.Request) {
		d.put(w, r, r.URL.Path, &models.UpdateDataSourceCommand{}, 200)
	})
	mux.HandleFunc("POST /grafana/api/folders", func(w http.ResponseWriter, r *http.Request) {
		var m models.CreateFolderCommand
		d.body(peek(r), &m)
		d.put(w, r, "/grafana/api/folders/"+m.UID, &m, 200)
	})
	mux.HandleFunc("PUT /grafana/api/folders/{uid}", func(w http.ResponseWriter, r *http.Request) {
		d.put(w, r, r.URL.Path, &models.UpdateFolderCommand{}, 200)
	})
	mux.HandleFunc("POST /grafana/api/folders/{uid}/permissions", func(w http.ResponseWriter, r *http.Request) {
		require.Contains(d.t, d.there, strings.TrimSuffix(r.URL.Path, "/permissions"))
		d.there[r.URL.Path] = d.body(r, &models.UpdateDashboardACLCommand{})
		answer(w, 200, object{"message": "updated"})
	})
	mux.HandleFunc("POST /grafana/api/dashboards/db", func(w http.ResponseWriter, r *http.Request) {
		var m models.SaveDashboardCommand
		raw := d.body(r, &m)
		require.Contains(d.t, d.there, "/grafana/api/folders/"+m.FolderUID)
		var sent struct{ Dashboard struct{ UID string } }
		require.NoError(d.t, json.Unmarshal(raw, &sent))
		d.there["dashboard "+sent.Dashboard.UID] = raw
		answer(w, 200, object{"uid": sent.Dashboard.UID, "status": "success", "id": 1, "url": "/d", "version": 1, "title": "x"})
	})
	mux.HandleFunc("GET /grafana/api/teams/search", func(w http.ResponseWriter, r *http.Request) {
		found := []any{}
		if id, there := d.teams[r.URL.Query().Get("name")]; there {
			found = append(found, object{"id": id, "uid": "t", "name": r.URL.Query().Get("name"), "orgId": 1, "memberCount": 0, "isProvisioned": false})
		}
		answer(w, 200, object{"teams": found, "totalCount": len(found)})
	})
	mux.HandleFunc("POST /grafana/api/teams", func(w http.ResponseWriter, r *http.Request) {
		var m models.CreateTeamCommand
		d.body(r, &m)
		require.NotContains(d.t, d.teams, *m.Name)
		d.teams[*m.Name] = int64(len(d.teams) + 7)
		answer(w, 200, object{"teamId": d.teams[*m.Name], "uid": "t", "message": "created"})
	})
	mux.HandleFunc("POST /grafana/api/v1/provisioning/alert-rules", func(w http.ResponseWriter, r *http.Request) {
		var m models.ProvisionedAlertRule
		d.body(peek(r), &m)
		d.put(w, r, r.URL.Path+"/"+m.UID, &m, 201)
	})
	mux.HandleFunc("PUT /grafana/api/v1/provisioning/alert-rules/{uid}", func(w http.ResponseWriter, r *http.Request) {
		d.put(w, r, r.URL.Path, &models.ProvisionedAlertRule{}, 200)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		request := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/grafana/api")
		d.requests = append(d.requests, request)
		require.Equal(d.t, "Bearer secret", r.Header.Get("Authorization"))
		_, pattern := mux.Handler(r)
		require.NotEmpty(d.t, pattern, "%s is not expected", request)
		if request == d.fail {
			answer(w, 500, object{"message": "internal"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// peek lets a body be read twice.
func peek(r *http.Request) *http.Request {
	raw, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(raw))
	return again
}

func setup(t *testing.T) (*description, provision.Config) {
	t.Helper()
	d := &description{t: t, there: map[string]json.RawMessage{}, teams: map[string]int64{}}
	server := httptest.NewServer(d.handler())
	t.Cleanup(server.Close)
	return d, provision.Config{
		URL: server.URL + "/grafana", Token: "secret", PrometheusURL: "http://prometheus:9090", Client: server.Client(),
		ClickHouse: provision.ClickHouse{Host: "clickhouse", Port: 9000, Protocol: "native", Database: "analytics", User: "grafana", Password: "p"},
		Tenants:    []provision.Tenant{{ID: "0197-acme", Name: "acme", Title: "Acme", User: "grafana_acme", Password: "q"}, {ID: "0197-globex", Name: "globex", User: "grafana_globex"}},
	}
}

// TestEverythingIsProvisioned on an empty Grafana, and again on one that has it.
func TestEverythingIsProvisioned(t *testing.T) {
	t.Parallel()
	d, config := setup(t)
	first, err := provision.Provision(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, provision.Result{Folders: 3, DataSources: 4, Dashboards: 7 + 2*5, AlertRules: 7, Teams: 2}, first)
	before := fmt.Sprint(len(d.there), len(d.teams))
	second, err := provision.Provision(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Equal(t, before, fmt.Sprint(len(d.there), len(d.teams)), "nothing is made twice")

	require.JSONEq(t, `{"items":[{"teamId":7,"permission":1}]}`, string(d.there["/grafana/api/folders/tollgate-acme/permissions"]), "the team alone")
	require.JSONEq(t, `{"items":[{"role":"Editor","permission":2}]}`, string(d.there["/grafana/api/folders/tollgate/permissions"]), "no viewer")
	acme := string(d.there["dashboard tollgate-traffic-acme"])
	require.Contains(t, acme, "0197-acme")
	require.Contains(t, acme, `"tollgate-acme"`)
	require.NotContains(t, acme, "tollgate-clickhouse")
	require.Contains(t, string(d.there["/grafana/api/datasources/uid/tollgate-acme"]), `"username":"grafana_acme"`)
	for path := range d.there {
		require.NotContains(t, path, "pipeline-acme", "the pipeline is the operators'")
	}
}

func TestFailuresAreNamed(t *testing.T) {
	t.Parallel()
	d, config := setup(t)
	d.fail = "POST /dashboards/db"
	_, err := provision.Provision(t.Context(), config)
	require.ErrorContains(t, err, "dashboard tollgate-traffic")
	d.fail = ""
	config.PrometheusURL = ""
	result, err := provision.Provision(t.Context(), config)
	require.NoError(t, err)
	require.Equal(t, 2, result.AlertRules, "those that ask ClickHouse")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = provision.Provision(ended, config)
	require.ErrorIs(t, err, context.Canceled)
}

func TestConfigurationsAreChecked(t *testing.T) {
	t.Parallel()
	err := provision.Config{URL: "grafana", Tenants: []provision.Tenant{{ID: "x", Name: "Too Long"}}, ClickHouse: provision.ClickHouse{Protocol: "ftp"}}.Validate()
	for _, want := range []string{"url: is not", "token: is empty", "clickhouse: host", `"ftp" is not native or http`, "tenants[0]: an id, and a name", `tenants[0]: the ClickHouse user "" is missing`} {
		require.ErrorContains(t, err, want)
	}
	_, config := setup(t)
	config.Tenants[1].User = config.Tenants[0].User
	require.ErrorContains(t, config.Validate(), "used twice")
}

// TestAccessStatementsAreWellFormed: the engine's own parser reads them. (The embedded engine keeps no users to try them on.)
func TestAccessStatementsAreWellFormed(t *testing.T) {
	t.Parallel()
	address := testkit.ClickHouse(t)
	options, err := driver.ParseDSN(address)
	require.NoError(t, err)
	conn, err := driver.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	hash := sha256.Sum256([]byte("q"))
	statements := provision.AccessStatements(strings.TrimPrefix(parsed.Path, "/"), provision.Tenant{ID: "it's", User: "grafana`x"}, hex.EncodeToString(hash[:]))
	for _, statement := range statements {
		var printed string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT formatQuerySingleLine({q:String})", driver.Named("q", statement)).Scan(&printed), statement)
	}
	require.Len(t, statements, 13)
	require.Contains(t, strings.Join(statements, "\n"), `USING tenant = 'it\'s' AS RESTRICTIVE`)
}
