package subscription_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	f := start(t)
	s := f.must(t, "POST", path, `{"name":"globex-weather","application":"globex-app","plan":"pro"}`)
	f.admin.Must("PUT", "/subscription/v1/mail-recipients/ops", `{"address":"ops@acme.example"}`, nil)
	f.admin.Must("PUT", "/subscription/v1/mail-recipients/ops", `{"address":"ops@acme.example","disabled":true}`, nil)
	state := func(state string) string {
		return fmt.Sprintf(`{"id":%q,"name":"globex-weather","account":%q,"application":%q,"product":%q,"plan":%q,"planVersion":1,"state":%q}`,
			s.ID, f.account, f.application, f.product, f.pro, state)
	}
	f.Audit(servicetest.Audited{
		Service: "subscription", Scope: "subscription.read",
		Principal: principal.Principal{Tenant: f.tenant, Subject: "member:m1", Scopes: []string{"subscription.read", "subscription.write", "identity.admin"}},
		Action:    "subscription.v1.SubscriptionActivated",
		Change: func(c *servicetest.Client, headers ...string) (before, after string) {
			c.Must("POST", path+"/globex-weather/approve", `{}`, nil, headers...)
			return state("requested"), state("active")
		},
	})

	// Addresses of mail are in no event, so that the audit has none.
	var list operation.List[audit.Entry]
	answer := f.admin.Must("GET", "/subscription/v1/audit?streamType=mail-recipient&changes=true", nil, &list)
	require.Len(t, list.Items, 2)
	require.NotContains(t, answer.Body, "ops@acme.example")
	id := list.Items[0].StreamID
	require.JSONEq(t, fmt.Sprintf(`{"id":%q,"name":"ops"}`, id), string(list.Items[0].Before))
	require.JSONEq(t, fmt.Sprintf(`{"id":%q,"name":"ops","disabled":true}`, id), string(list.Items[0].After))
}
