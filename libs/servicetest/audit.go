package servicetest

import (
	"encoding/csv"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Audited is a change that a service's audit must tell of.
type Audited struct {
	// Service whose audit it is, and Scope that reads it.
	Service, Scope string
	// Installation says that what is changed belongs to the installation, and that an operator changes it.
	Installation bool
	// Principal makes the change: a member "member:<id>" with ScopeOrigins.
	Principal principal.Principal
	// Action is the type of the newest event of the principal that comes of it.
	Action string
	// Change makes it, with a client of the principal and with the headers, and returns the JSON of what was changed by that
	// event; before is empty for what was not there.
	Change func(c *Client, headers ...string) (before, after string)
}

const (
	auditAddress = "192.0.2.7"
	auditAgent   = "audited/1"
	auditReason  = "for the audit"
)

// Audit makes a change and checks all that the audit says of it: to its tenant, to a viewer, to another tenant, as CSV, and
// after the member who made it was erased.
func (e *Env) Audit(a Audited) {
	e.tb.Helper()
	base := "/" + a.Service + "/v1/audit"
	query := "?actor=" + a.Principal.Subject + "&changes=true"
	if a.Installation {
		query += "&installation=true"
	}
	by := e.Client(e.TokenFor(a.Principal))
	before, after := a.Change(by.From(auditAddress+":4711"), "User-Agent", auditAgent, operation.HeaderReason, auditReason)

	entries := func(c *Client) []audit.Entry {
		e.tb.Helper()
		var page operation.List[audit.Entry]
		c.Must("GET", base+query, nil, &page)
		return page.Items
	}
	all := entries(by)
	require.NotEmpty(e.tb, all)
	newest := all[0]
	require.Equal(e.tb, []string{a.Action, a.Principal.Subject, auditAddress, auditAgent, auditReason},
		[]string{newest.Action, newest.Actor, newest.Address, newest.UserAgent, newest.Reason})
	if before == "" {
		require.Empty(e.tb, newest.Before)
	} else {
		require.JSONEq(e.tb, before, string(newest.Before))
	}
	require.JSONEq(e.tb, after, string(newest.After))
	one := fmt.Sprintf("%s/%d", base, newest.Position)
	var shown audit.Entry
	by.Must("GET", one, nil, &shown)
	require.Equal(e.tb, newest, shown)

	answer := by.Must("GET", base+"/export"+query+"&format=csv", nil, nil)
	rows, err := csv.NewReader(strings.NewReader(answer.Body)).ReadAll()
	require.NoError(e.tb, err)
	require.Equal(e.tb, audit.Columns(), rows[0])
	require.Equal(e.tb, newest.Row(), rows[len(rows)-1])

	viewer := a.Principal
	viewer.Scopes = []string{a.Scope}
	for _, entry := range entries(e.Client(e.TokenFor(viewer))) {
		require.Empty(e.tb, entry.Address+entry.UserAgent, "from where is personal data")
	}
	stranger := principal.Principal{Tenant: "stranger", Subject: "member:stranger", Scopes: a.Principal.Scopes}
	other := e.Client(e.TokenFor(stranger))
	require.Equal(e.tb, 404, other.Do("GET", one, nil).Status)
	require.Equal(e.tb, 403, other.Do("GET", base+"?installation=true", nil).Status)
	var theirs operation.List[audit.Entry]
	other.Must("GET", base+"?changes=true", nil, &theirs)
	require.Empty(e.tb, theirs.Items)
	require.Equal(e.tb, 403, e.Client(e.Token(a.Principal.Tenant, "none")).Do("GET", base, nil).Status)

	member := strings.TrimPrefix(a.Principal.Subject, "member:")
	e.Emit(audit.IdentityLog, a.Principal.Tenant, "member", member, 0, &identityv1.MemberErased{Member: member})
	testkit.Await(e.tb, time.Minute, func() bool { return entries(by)[0].Address == "" })
	require.Equal(e.tb, a.Principal.Subject, entries(by)[0].Actor, "events remain")
}
