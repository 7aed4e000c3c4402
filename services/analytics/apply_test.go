package analytics_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// TestResourcesAreApplied all or none, and exported as they were applied.
func TestResourcesAreApplied(t *testing.T) {
	t.Parallel()
	f := start(t)
	document := func(kind, name, spec string) resource.Resource {
		return resource.Resource{APIVersion: resource.APIVersion, Kind: kind, Metadata: resource.Metadata{Name: name}, Spec: json.RawMessage(spec)}
	}
	rule := document("AlertRule", "silence", `{"kind":"absence","window":"5m","mail":["ops@example.com"],"filter":{"account":"globex"}}`)
	report := document("Report", "monthly", `{"schedule":"monthly","mail":["boss@example.com"],"limit":5}`)
	request := resource.ApplyRequest{Resources: []resource.Resource{report, rule}}
	answer := f.client.Do("POST", "/analytics/v1/apply", request)
	require.Equal(t, 404, answer.Status, answer.Body)
	require.Contains(t, answer.Body, "There is no account globex.")

	request.Assume = []string{"Account globex"}
	var applied resource.ApplyResponse
	f.client.Must("POST", "/analytics/v1/apply", request, &applied, operation.HeaderDryRun, "true")
	require.Equal(t, resource.Created, applied.Changes[0].Action)
	var exported resource.Export
	f.client.Must("GET", "/analytics/v1/export", nil, &exported)
	require.Empty(t, exported.Resources, "a dry run")
	require.Equal(t, 404, f.client.Do("POST", "/analytics/v1/apply", request).Status, "nothing is assumed outside of dry runs")
	f.after(t, "identity", f.Emit("identity", tenant, "account", "a1", 0, &identityv1.AccountCreated{Account: "a1", Name: "globex"}))
	f.client.Must("POST", "/analytics/v1/apply", request, &applied)
	f.client.Must("POST", "/analytics/v1/apply", request, &applied)
	require.Equal(t, resource.Unchanged, applied.Changes[1].Action)
	f.client.Must("GET", "/analytics/v1/export", nil, &exported)
	require.Len(t, exported.Resources, 2)
	require.Equal(t, "AlertRule", exported.Resources[0].Kind)
	require.JSONEq(t, string(rule.Spec), string(exported.Resources[0].Spec))
	require.JSONEq(t, string(report.Spec), string(exported.Resources[1].Spec))
}

// TestAssumedPlansAreTold by the last part of their key, whatever else is assumed.
func TestAssumedPlansAreTold(t *testing.T) {
	t.Parallel()
	f := start(t)
	rule := resource.Resource{APIVersion: resource.APIVersion, Kind: "AlertRule", Metadata: resource.Metadata{Name: "x"}, Spec: json.RawMessage(`{"kind":"absence","window":"5m","mail":["ops@example.com"],"filter":{"plan":"x"}}`)}
	for status, assume := range map[int][]string{404: {"ab", "", "/x", "Plan", "Product/x", "Plan y/xx"}, 200: {"ab", "Plan weather/x"}} {
		answer := f.client.Do("POST", "/analytics/v1/apply", resource.ApplyRequest{Resources: []resource.Resource{rule}, Assume: assume}, operation.HeaderDryRun, "true")
		require.Equal(t, status, answer.Status, answer.Body)
	}
}
