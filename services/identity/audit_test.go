package identity_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/operation"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	robin := p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "publisher")
	server := p.serve(t)
	_, s := p.signIn(t, "robin@example.com", goodPassword, "")
	var signed struct{ Token string }
	p.Client("").Must("POST", "/identity/v1/tokens/exchange", map[string]string{"token": s.Token}, &signed)
	put := func(title, reason string) {
		request, err := http.NewRequestWithContext(t.Context(), "PUT", server+"/identity/v1/accounts/globex", strings.NewReader(fmt.Sprintf(`{"spec":{"title":%q,"currency":"EUR"}}`, title)))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+signed.Token)
		request.Header.Set("User-Agent", "auditor/1")
		request.Header.Set("Tollgate-Reason", reason)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		response.Body.Close()
		require.Equal(t, 200, response.StatusCode)
	}
	put("Globex", "")
	p.advance(time.Minute)
	start := p.clock.now()
	put("Globex Corporation", "=HYPERLINK()")

	var list operation.List[audit.Entry]
	get := func(query string) []audit.Entry {
		list = operation.List[audit.Entry]{}
		p.admin.Must("GET", "/identity/v1/audit"+query, nil, &list)
		return list.Items
	}
	changed := get("?changes=true&streamType=account")
	require.Len(t, changed, 2)
	e := changed[0]
	require.Equal(t, "identity.v1.AccountChanged", e.Action)
	require.Equal(t, "member:"+robin, e.Actor)
	require.Equal(t, "127.0.0.1", e.Address)
	require.Equal(t, "auditor/1", e.UserAgent)
	require.Equal(t, "=HYPERLINK()", e.Reason)
	require.Equal(t, p.clock.now().Truncate(time.Microsecond), e.At)
	require.JSONEq(t, fmt.Sprintf(`{"id":%q,"name":"globex","title":"Globex","currency":"EUR"}`, e.StreamID), string(e.Before))
	require.JSONEq(t, fmt.Sprintf(`{"id":%q,"name":"globex","title":"Globex Corporation","currency":"EUR"}`, e.StreamID), string(e.After))
	require.Nil(t, changed[1].Before)
	var one audit.Entry
	p.admin.Must("GET", fmt.Sprintf("/identity/v1/audit/%d", e.Position), nil, &one)
	require.Equal(t, e, one)
	require.Equal(t, 404, p.admin.Do("GET", "/identity/v1/audit/100000", nil).Status)

	require.Len(t, get("?actor=member:"+robin), 6, "joined with two events and a password, signed in, and two changes")
	require.Len(t, get("?action=SessionStarted"), 1)
	require.Len(t, get("?action=identity.v1.SessionStarted&stream="+s.ID), 1)
	require.Len(t, get("?since="+start.Format(time.RFC3339Nano)), 1)
	require.NotContains(t, get("?until="+start.Format(time.RFC3339Nano)), e)
	for _, bad := range []string{"?since=yesterday", "?cursor=x", "?since=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z", "/export?format=xml"} {
		require.Equal(t, 400, p.admin.Do("GET", "/identity/v1/audit"+bad, nil).Status, bad)
	}

	// Pages lead through all of it, once.
	all := get("?limit=200")
	var paged []audit.Entry
	for cursor := ""; ; cursor = list.Next {
		paged = append(paged, get("?limit=2&cursor="+cursor)...)
		if list.Next == "" {
			break
		}
	}
	require.Equal(t, all, paged)

	answer := p.admin.Must("GET", "/identity/v1/audit/export", nil, nil)
	require.Equal(t, "application/x-ndjson", answer.Header.Get("Content-Type"))
	lines := bufio.NewScanner(strings.NewReader(answer.Body))
	var exported []audit.Entry
	for lines.Scan() {
		var e audit.Entry
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		exported = append([]audit.Entry{e}, exported...)
	}
	require.Equal(t, all, exported)
	answer = p.admin.Must("GET", "/identity/v1/audit/export?format=csv&changes=true&streamType=account", nil, nil)
	rows, err := csv.NewReader(strings.NewReader(answer.Body)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.Equal(t, "'=HYPERLINK()", rows[2][7], "no formula")
	require.JSONEq(t, string(e.Before), rows[2][12])

	require.NotContains(t, p.admin.Must("GET", "/identity/v1/audit?limit=200&changes=true", nil, nil).Body, "Sha256")
	require.Equal(t, 403, p.Client(s.Token).Do("GET", "/identity/v1/audit", nil).Status)
	var other struct{ OwnerToken string }
	p.admin.Must("POST", "/identity/v1/tenants", `{"name":"rival","title":"Rival","ownerDisplayName":"Eve"}`, &other)
	var rivals operation.List[audit.Entry]
	p.Client(other.OwnerToken).Must("GET", "/identity/v1/audit", nil, &rivals)
	require.Len(t, rivals.Items, 3)

	// From where it came is forgotten after its time.
	p.advance(91 * 24 * time.Hour)
	require.Eventually(t, func() bool { return get("?action=AccountChanged")[0].Address == "" }, patience, 100*time.Millisecond)
}
