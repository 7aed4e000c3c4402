package identity_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/services/identity"
)

// found returns the tables in which a text is, in any column, also as bytes.
func (f fixture) found(t *testing.T, text string) (tables []string) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.database})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables
			WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`)
		require.NoError(t, err)
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Greater(t, len(all), 20)
		for _, table := range all {
			// Bytes that are printable stand as they are in the format escape.
			rows, err := tx.Query(t.Context(), `SELECT ' OR encode(' || quote_ident(attname) || $q$, 'escape') ILIKE '%' || $1 || '%'$q$ FROM pg_attribute
				WHERE attrelid = $1::text::regclass AND atttypid = 'bytea'::regtype AND NOT attisdropped`, table)
			require.NoError(t, err)
			inBytes, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			var n int
			err = tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` AS t WHERE t::text ILIKE '%' || $1 || '%'`+strings.Join(inBytes, ""), text).Scan(&n)
			require.NoError(t, err, table)
			if n > 0 {
				tables = append(tables, table)
			}
		}
		return nil
	}))
	return tables
}

type erasure struct {
	Subject         string
	Erased, Remains []struct {
		What  string
		Count int
	}
}

func TestAPersonIsErased(t *testing.T) {
	t.Parallel()
	p := startPeopleWith(t, func(c *identity.Config) { c.Notify.MailURL = "" }) // mail waits, with addresses in it
	var kim, sam issued
	body := `{"displayName":"Kimberly Quux","email":"kim.quux@globex.example","roles":["owner"]}`
	p.admin.Must("POST", "/identity/v1/members", body, &kim, "Idempotency-Key", "add-kim")
	p.admin.Must("POST", "/identity/v1/members", `{"displayName":"Sam Other","email":"sam.other@globex.example","roles":["viewer"]}`, &sam, "Idempotency-Key", "add-sam")
	p.admin.Must("PUT", "/identity/v1/members/"+kim.ID, `{"displayName":"Kimberly Quux-Smith","email":"kim.smith@globex.example"}`, nil, "Idempotency-Key", "change-kim")
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"Kim.Smith@globex.example","roles":["viewer"]}`, nil, "Idempotency-Key", "invite-kim")
	var token issued
	p.admin.Must("POST", "/identity/v1/tokens", fmt.Sprintf(`{"title":"Notebook","member":%q}`, kim.ID), &token)
	var signed struct{ Token string }
	p.Client("").Must("POST", "/identity/v1/tokens/exchange", map[string]string{"token": token.Secret}, &signed)
	kimself := p.Client(signed.Token)
	kimself.Must("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"password":%q}`, goodPassword), nil)
	p.signIn(t, "kim.smith@globex.example", goodPassword, "")
	p.Client("").Must("POST", "/identity/v1/password-resets", `{"tenant":"main","email":"kim.smith@globex.example"}`, nil)
	kimself.Must("PUT", "/identity/v1/accounts/initech", `{"spec":{"title":"Initech","currency":"EUR"}}`, nil, "Tollgate-Reason", "asked for")
	require.Eventually(t, func() bool { return len(p.resets(t)) == 0 }, patience, 50*time.Millisecond, "the worker has mailed the reset")
	needles := []string{"quux", "kim.smith", "kimberly", "notebook"}
	require.Subset(t, p.found(t, "kim.smith"), []string{"public.members", "public.invitations", "public.commands"})
	require.Contains(t, p.found(t, "quux"), "public.commands")

	var done erasure
	p.admin.Must("POST", "/identity/v1/members/"+kim.ID+"/erase", nil, &done)
	require.Equal(t, "member:"+kim.ID, done.Subject)
	erased := map[string]int{}
	for _, part := range done.Erased {
		erased[part.What] = part.Count
	}
	require.Equal(t, map[string]int{
		"name and e-mail address, password, second factor and link to an OpenID provider": 1, "sessions": 1, "invitations": 1,
		"mails": 2, "titles of personal access tokens": 1, "stored answers of commands": 3,
	}, erased)
	require.Len(t, done.Remains, 3)
	require.Equal(t, 1, done.Remains[1].Count, "the reason")
	for _, needle := range needles {
		tables := p.found(t, needle)
		if needle == "notebook" {
			require.Equal(t, []string{"public.events"}, tables, "a title that was told to remain")
			continue
		}
		require.Empty(t, tables, needle)
	}

	// Others are as they were; what she did is there, under the id; a repeated command answers without her name.
	require.NotEmpty(t, p.found(t, "sam.other"))
	require.Contains(t, p.admin.Must("GET", "/identity/v1/audit?actor=member:"+kim.ID, nil, nil).Body, "AccountCreated")
	require.Contains(t, p.admin.Must("GET", "/identity/v1/audit?stream="+kim.ID, nil, nil).Body, "MemberErased")
	again := p.admin.Must("POST", "/identity/v1/members", body, nil, "Idempotency-Key", "add-kim")
	require.Equal(t, "true", again.Header.Get(operation.HeaderReplayed))
	require.Contains(t, again.Body, kim.ID)
	require.NotContains(t, again.Body, "Quux")
	require.Equal(t, 401, p.trySignIn("kim.smith@globex.example", goodPassword, "").Status)
	p.admin.Must("POST", "/identity/v1/members/"+kim.ID+"/erase", nil, nil)
	require.Equal(t, 404, p.admin.Do("POST", "/identity/v1/members/nobody/erase", nil).Status)

	// One who was removed before is erased too; the last owner is not.
	p.admin.Must("DELETE", "/identity/v1/members/"+sam.ID, nil, nil)
	require.Empty(t, p.found(t, "sam.other"))
	require.NotEmpty(t, p.found(t, sam.ID))
	p.admin.Must("POST", "/identity/v1/members/"+sam.ID+"/erase", nil, nil)
	require.Empty(t, p.found(t, "sam.other"))
	var self struct{ ID string }
	p.admin.Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, 409, p.admin.Do("POST", "/identity/v1/members/"+self.ID+"/erase", nil).Status)
}

// resets returns the requests for password resets that wait for the worker.
func (f fixture) resets(t *testing.T) (ids []string) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.database})
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.Pool().Query(t.Context(), `SELECT id FROM password_reset_requests`)
	require.NoError(t, err)
	ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return ids
}

func TestAccountContactsAreErased(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	spec := `{"title":"Globex","currency":"EUR","billingEmail":"pat.quux@globex.example"}`
	p.admin.Must("PUT", "/identity/v1/accounts/globex", `{"spec":`+spec+`}`, nil, "Idempotency-Key", "put")
	p.admin.Must("POST", "/identity/v1/apply", weather(t, spec), nil, "Idempotency-Key", "apply")
	require.NotEmpty(t, p.found(t, "pat.quux"))
	var done erasure
	p.admin.Must("POST", "/identity/v1/accounts/globex/erase-contact", nil, &done)
	require.Len(t, done.Erased, 2)
	require.Equal(t, 2, done.Erased[1].Count)
	require.Empty(t, p.found(t, "pat.quux"))
	require.Contains(t, p.admin.Must("GET", "/identity/v1/accounts/globex", nil, nil).Body, `"title":"Globex"`)
	p.admin.Must("POST", "/identity/v1/accounts/globex/erase-contact", nil, &done)
	require.Empty(t, done.Erased)
	require.Equal(t, 404, p.admin.Do("POST", "/identity/v1/accounts/nothing/erase-contact", nil).Status)
}
