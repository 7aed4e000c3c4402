package metering_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
)

// TestAudit: gateways belong to the installation, and so does what is changed of them.
func TestAudit(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.gateway("gw1").seal(t, began)
	waive := func(c *servicetest.Client, until time.Time, headers ...string) string {
		text := until.UTC().Format(time.RFC3339Nano)
		c.Must("POST", "/metering/v1/gateways/gw1/waive", fmt.Sprintf(`{"until":%q}`, text), nil, headers...)
		return fmt.Sprintf(`{"waivedUntil":%q}`, text)
	}
	f.Audit(servicetest.Audited{
		Service: "metering", Scope: "metering.read", Installation: true,
		Principal: principal.Principal{
			Tenant: tenant, Subject: "member:m1", Scopes: []string{"metering.read", "metering.operate", "identity.admin"}, Operator: true,
		},
		Action: "metering.v1.GatewayWaived",
		Change: func(c *servicetest.Client, headers ...string) (before, after string) {
			before = waive(c, began, headers...)
			return before, waive(c, began.Add(time.Minute), headers...)
		},
	})
}
