package catalog_test

import (
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	f := start(t)
	var api struct{ ID string }
	f.admin.Must("PUT", "/catalog/v1/apis/weather", `{"spec":{"title":"Weather"}}`, &api)
	state := func(title string) string {
		return fmt.Sprintf(`{"id":%q,"name":"weather","spec":{"title":%q}}`, api.ID, title)
	}
	f.Audit(servicetest.Audited{
		Service: "catalog", Scope: "catalog.read",
		Principal: principal.Principal{Tenant: "t1", Subject: "member:m1", Scopes: []string{"catalog.read", "catalog.write", "identity.admin"}},
		Action:    "catalog.v1.APIChanged",
		Change: func(c *servicetest.Client, headers ...string) (before, after string) {
			c.Must("PUT", "/catalog/v1/apis/weather", `{"spec":{"title":"Weather of today"}}`, nil, headers...)
			return state("Weather"), state("Weather of today")
		},
	})
}
