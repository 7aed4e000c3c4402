package billing_test

import (
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.Audit(servicetest.Audited{
		Service: "billing", Scope: "billing.read",
		Principal: principal.Principal{Tenant: f.tenant, Subject: "member:m1", Scopes: []string{"billing.read", "billing.run", "identity.admin"}},
		Action:    "billing.v1.BillingRunStarted",
		Change: func(c *servicetest.Client, headers ...string) (before, after string) {
			var run runAnswer
			c.Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, &run, headers...)
			return "", fmt.Sprintf(`{"id":%q}`, run.ID)
		},
	})
}
