package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
)

// upgradeOrder is that of deploy/README.md: readers before writers.
var upgradeOrder = []string{"metering", "analytics", "billing", "gateway", "subscription", "catalog", "identity"}

// TestRollingUpgrade: of two replicas of every service of the previous commit one is replaced by this tree's, service by service and
// under load, so that old and new ones work side by side on the same logs, tables, streams and buckets.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	d := harness.StartDistributedFrom(t, 2, harness.PreviousBinary)
	api, key := publish(t, d, distributedResources)
	seen := &answeredCalls{ids: map[string]bool{}}
	stop := loadAll(t, d, key, seen)
	for _, service := range upgradeOrder {
		before := seen.count()
		d.Replicas[service][0].Upgrade(t)
		require.Greater(t, seen.count(), before, "calls go on while %s is replaced", service)
		api.Must("PUT", "/identity/v1/accounts/acme",
			map[string]any{"spec": map[string]string{"title": "Acme, next to a new " + service, "currency": "EUR"}}, nil)
	}
	stop()
	t.Logf("%d calls were answered", seen.count())
	checkSettled(t, d, api, seen)
}
