package subscription_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
)

func TestApplyOfWhoIsTold(t *testing.T) {
	t.Parallel()
	f := start(t)
	document := func(kind, name, spec string) resource.Resource {
		return resource.Resource{APIVersion: resource.APIVersion, Kind: kind, Metadata: resource.Metadata{Name: name}, Spec: json.RawMessage(spec)}
	}
	all := func(documents ...resource.Resource) resource.ApplyRequest {
		return resource.ApplyRequest{Resources: documents}
	}
	hook := document("Webhook", "hook", `{"url":"https://acme.example/hook","events":["subscription.requested"]}`)
	ops := document("MailRecipient", "ops", `{"address":"ops@acme.example","account":"globex"}`)
	require.Equal(t, "created created", action(t, f.apply(all(hook, ops), operation.HeaderDryRun, "true")))
	require.Zero(t, f.head(t))
	require.Equal(t, "created created", action(t, f.apply(all(hook, ops))))
	require.Equal(t, "unchanged unchanged", action(t, f.apply(all(hook, ops))))
	hook = document("Webhook", "hook", `{"url":"https://acme.example/other","disabled":true}`)
	require.Equal(t, "changed", action(t, f.apply(all(hook))))
	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	var exported resource.Export
	f.admin.Must("GET", "/subscription/v1/export", nil, &exported)
	require.Len(t, exported.Resources, 3)
	require.Equal(t, "unchanged unchanged unchanged", action(t, f.apply(all(exported.Resources...))))

	ahead := all(document("MailRecipient", "new", `{"address":"new@acme.example","account":"newcomer"}`))
	require.Contains(t, f.apply(ahead, operation.HeaderDryRun, "true").Body, "resources[0].spec.account")
	ahead.Assume = []string{"Account newcomer"}
	require.Equal(t, "created", action(t, f.apply(ahead, operation.HeaderDryRun, "true")))
	there := all(exported.Resources[2])
	there.Assume = []string{"Account globex"}
	require.Equal(t, "unchanged", action(t, f.apply(there, operation.HeaderDryRun, "true")))
	for _, c := range []struct {
		wrong resource.Resource
		want  string
	}{
		{document("Webhook", "hook", `{"url":"nowhere"}`), "resources[0].spec.url"},
		{document("Webhook", "hook", `{"url":"https://acme.example","events":["x"]}`), "resources[0].spec.events[0]"},
		{document("MailRecipient", "ops", `{"address":"nobody"}`), "resources[0].spec.address"},
		{document("MailRecipient", "ops", `{"address":"ops@acme.example","account":"nobody"}`), "resources[0].spec.account"},
	} {
		answer := f.apply(all(c.wrong))
		require.Equal(t, 400, answer.Status)
		require.Contains(t, answer.Body, c.want)
	}
	f.compare(t)
}
