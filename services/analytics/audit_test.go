package analytics_test

import (
	"testing"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.set(t, 60, "full")
	f.Audit(servicetest.Audited{
		Service: "analytics", Scope: "analytics.read",
		Principal: principal.Principal{Tenant: tenant, Subject: "member:m1", Scopes: []string{"analytics.read", "analytics.write", "identity.admin"}},
		Action:    "analytics.v1.SettingsChanged",
		Change: func(c *servicetest.Client, headers ...string) (before, after string) {
			c.Must("POST", "/analytics/v1/webhook-secret", nil, nil, headers...)
			c.Must("PUT", "/analytics/v1/settings", `{"retentionDays":90,"clientAddresses":"none"}`, nil, headers...)
			return `{"retentionDays":60,"clientAddresses":"full","webhookSecrets":1}`, `{"retentionDays":90,"clientAddresses":"none","webhookSecrets":1}`
		},
	})
}
