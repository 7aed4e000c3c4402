package cli_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/billing"
	"github.com/tollgate/tollgate/services/catalog"
)

// TestAudit: two services behind a listener, whose audits are shown as one.
func TestAudit(t *testing.T) {
	t.Parallel()
	env := servicetest.New(t)
	c, err := catalog.New(t.Context(), catalog.Config{Service: env.Config("catalog")}, env.Deps(nil))
	require.NoError(t, err)
	env.Run(c)
	b, err := billing.New(t.Context(), billing.Config{Service: env.Config("billing"), Manual: true}, env.Deps(nil))
	require.NoError(t, err)
	env.Run(b)
	listener := httptest.NewServer(apibridge.Handler(env.Bus, []string{"identity", "catalog", "billing"}, testkit.Logger(t)))
	t.Cleanup(listener.Close)
	token := env.TokenFor(principal.Principal{
		Tenant: "t1", Subject: "member:m1", Scopes: []string{"catalog.read", "catalog.write", "billing.read", "billing.run", "identity.admin"},
	})
	command := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, append(args, "--server", listener.URL, "--token", token)...)
		require.Equal(t, 0, code, stderr)
		return stdout
	}
	file := filepath.Join(t.TempDir(), "api.yaml")
	apply := func(title string) {
		t.Helper()
		text := "apiVersion: tollgate/v1\nkind: API\nmetadata: {name: weather}\nspec: {title: " + title + "}\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		command("apply", "--file", file)
	}
	apply("Weather")
	env.Client(token).Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, nil)
	apply("Forecasts")

	type entry struct{ Service, Action, Actor, Address, StreamID string }
	list := func(args ...string) []entry {
		t.Helper()
		var shown struct{ Items []entry }
		require.NoError(t, json.Unmarshal([]byte(command(append([]string{"audit", "--service", "catalog,billing", "--actor", "member:m1", "--output", "json"}, args...)...)), &shown))
		return shown.Items
	}
	all := list()
	require.Len(t, all, 3)
	require.Equal(t, entry{"catalog", "catalog.v1.APIChanged", "member:m1", "127.0.0.1", all[0].StreamID}, all[0])
	require.Equal(t, []string{"billing", "catalog"}, []string{all[1].Service, all[2].Service}, "the newest first, of both")
	require.Equal(t, all[:1], list("--limit", "1"))
	require.Equal(t, all[:1], list("--action", "APIChanged"))
	require.Equal(t, all[1:2], list("--stream-type", "billing-run", "--since", "2026-01-01"))
	require.Equal(t, all[2:], list("--stream", all[2].StreamID, "--action", "APICreated"))
	require.Empty(t, list("--until", "2026-01-01"))

	only := []string{"audit", "--service", "catalog", "--action", "APIChanged"}
	table := command(only...)
	require.Contains(t, table, "SERVICE")
	require.Contains(t, table, "catalog.v1.APIChanged")
	changes := command(append(only, "--changes")...)
	require.Contains(t, changes, fmt.Sprintf("catalog  catalog.v1.APIChanged  %s  member:m1  127.0.0.1", all[0].StreamID))
	require.True(t, strings.HasSuffix(changes, "\n  - api.spec.title: Weather\n  + api.spec.title: Forecasts\n"), changes)
	rows, err := csv.NewReader(strings.NewReader(command(append(only, "--output", "csv")...))).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, []string{"service", "position", "at", "actor"}, rows[0][:4])
	require.Equal(t, "catalog", rows[1][0])

	// An audit that is not whole is none.
	code, _, stderr := run(t, "audit", "--server", listener.URL, "--token", token)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "the audit of identity: ")
	require.Contains(t, stderr, "--service")
	code, _, stderr = run(t, "audit", "--service", "catalog", "--installation", "--server", listener.URL, "--token", token)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "for its operators")
}
