package identity_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
)

// heldUp begins commands while the account's row cannot be changed, so that they all begin with what is there now, and returns
// their answers.
func (p people) heldUp(t *testing.T, account string, commands ...func() servicetest.Answer) []servicetest.Answer {
	t.Helper()
	answers := make([]servicetest.Answer, len(commands))
	var group sync.WaitGroup
	watch := p.open(t)
	require.NoError(t, p.open(t).InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SELECT FROM accounts WHERE name = $1 FOR UPDATE`, account)
		require.NoError(t, err)
		for n, command := range commands {
			group.Go(func() { answers[n] = command() })
			testkit.Await(t, patience, func() bool {
				var waiting int
				err := watch.Pool().QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
				require.NoError(t, err)
				return waiting > n
			})
		}
		return nil
	}))
	group.Wait()
	return answers
}

// What two do to an account at the same time is as if one had come after the other.
func TestAnAccountThatIsClosedStaysClosed(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	var account struct {
		Title, BillingEmail string
		Closed              bool
	}
	for name, change := range map[string]func(name string) servicetest.Answer{
		"another address": func(name string) servicetest.Answer {
			return p.admin.Do("PUT", "/identity/v1/accounts/"+name, `{"spec":{"title":"Globex","currency":"EUR","billingEmail":"new@globex.example"}}`)
		},
		"erased contact": func(name string) servicetest.Answer {
			return p.admin.Do("POST", "/identity/v1/accounts/"+name+"/erase-contact", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			name := fmt.Sprintf("globex-%d", len(name))
			p.admin.Must("PUT", "/identity/v1/accounts/"+name, `{"spec":{"title":"Globex","currency":"EUR","billingEmail":"old@globex.example"}}`, nil)
			answers := p.heldUp(t, name,
				func() servicetest.Answer { return p.admin.Do("DELETE", "/identity/v1/accounts/"+name, nil) },
				func() servicetest.Answer { return change(name) })
			require.Equal(t, 204, answers[0].Status, answers[0].Body)
			require.Contains(t, []int{200, 409}, answers[1].Status, answers[1].Body)
			p.admin.Must("GET", "/identity/v1/accounts/"+name, nil, &account)
			require.True(t, account.Closed)
		})
	}
	// Nor does closing bring back an address that was erased.
	p.admin.Must("PUT", "/identity/v1/accounts/initech", `{"spec":{"title":"Initech","currency":"EUR","billingEmail":"pat@initech.example"}}`, nil)
	answers := p.heldUp(t, "initech",
		func() servicetest.Answer {
			return p.admin.Do("POST", "/identity/v1/accounts/initech/erase-contact", nil)
		},
		func() servicetest.Answer { return p.admin.Do("DELETE", "/identity/v1/accounts/initech", nil) })
	require.Equal(t, 200, answers[0].Status, answers[0].Body)
	require.Equal(t, 204, answers[1].Status, answers[1].Body)
	account.BillingEmail = ""
	p.admin.Must("GET", "/identity/v1/accounts/initech", nil, &account)
	require.Empty(t, account.BillingEmail)
}

// A closed account gets no credentials, also not in place of others; what it has can be ended.
func TestClosedAccountsGetNoCredentials(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	f.application(t, f.admin, "initech", "initech-app")
	var key issued
	f.admin.Must("POST", credentialsPath, `{"title":"Live"}`, &key)
	f.admin.Must("DELETE", "/identity/v1/accounts/globex", nil, nil)
	for path, body := range map[string]string{"": `{"title":"New"}`, "/" + key.ID + "/rotate": `{"overlap":"1h"}`} {
		answer := f.admin.Do("POST", credentialsPath+path, body)
		require.Equal(t, 409, answer.Status, answer.Body)
		require.Contains(t, answer.Body, "account-closed")
		require.NotContains(t, answer.Body, "tg_")
	}

	// What is exported can be applied, here and elsewhere.
	var export resource.Export
	f.admin.Must("GET", "/identity/v1/export", nil, &export)
	require.Len(t, export.Resources, 2, "%v", export.Resources)
	require.Equal(t, "initech-app", export.Resources[1].Metadata.Name)
	var tenant struct{ OwnerToken string }
	f.admin.Must("POST", "/identity/v1/tenants", `{"name":"second","title":"Second","ownerDisplayName":"Eve"}`, &tenant)
	f.Client(tenant.OwnerToken).Must("POST", "/identity/v1/apply", resource.ApplyRequest{Resources: export.Resources}, nil)

	f.admin.Must("DELETE", credentialsPath+"/"+key.ID, nil, nil)
	f.admin.Must("DELETE", "/identity/v1/applications/globex-app", nil, nil)
}
