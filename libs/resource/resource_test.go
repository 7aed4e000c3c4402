package resource_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func document(kind, spec string, m resource.Metadata) resource.Resource {
	return resource.Resource{APIVersion: resource.APIVersion, Kind: kind, Metadata: m, Spec: json.RawMessage(spec)}
}

func TestDecodeNamesEveryField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		resource resource.Resource
		want     []problem.Field
	}{
		"unknown field in a list": {
			document("Plan", `{"prices":[{"unti":"1"}]}`, resource.Metadata{Name: "pro", Product: "weather"}),
			[]problem.Field{{Path: "spec.prices[0].unti"}},
		},
		"number for a decimal": {
			document("Plan", `{"prices":[{"unit":1.5}],"title":true}`, resource.Metadata{Name: "pro", Product: "weather"}),
			[]problem.Field{{Path: "spec.prices[0].unit"}, {Path: "spec.title"}},
		},
		"negative quota": {
			document("Plan", `{"limits":[{"quota":-1}]}`, resource.Metadata{Name: "pro", Product: "weather"}),
			[]problem.Field{{Path: "spec.limits[0].quota"}},
		},
		"fraction for a count": {
			document("Plan", `{"limits":[{"quota":1.5}]}`, resource.Metadata{Name: "pro", Product: "weather"}),
			[]problem.Field{{Path: "spec.limits[0].quota"}},
		},
		"wrong value of a map": {
			document("APIVersion", `{"meters":{"rows":"x"}}`, resource.Metadata{Name: "v1", API: "weather"}),
			[]problem.Field{{Path: "spec.meters.rows"}},
		},
		"parents": {
			document("Plan", `{}`, resource.Metadata{Name: "pro", API: "weather"}),
			[]problem.Field{{Path: "metadata.api"}, {Path: "metadata.product"}},
		},
		"name": {
			document("API", `{}`, resource.Metadata{Name: "Weather API"}),
			[]problem.Field{{Path: "metadata.name"}},
		},
		"name that looks like an id": {
			document("API", `{}`, resource.Metadata{Name: "019ab2f0-0000-7000-8000-000000000000"}),
			[]problem.Field{{Path: "metadata.name"}},
		},
		"not JSON": {
			document("API", `{`, resource.Metadata{Name: "weather"}), []problem.Field{{Path: "spec"}},
		},
		"null": {
			document("API", `{"title":null}`, resource.Metadata{Name: "weather"}), []problem.Field{{Path: "spec.title"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.resource.Decode()
			var invalid *problem.Error
			require.ErrorAs(t, err, &invalid)
			var paths, want []string
			for _, f := range invalid.Fields {
				require.NotEmpty(t, f.Message)
				paths = append(paths, f.Path)
			}
			for _, f := range c.want {
				want = append(want, f.Path)
			}
			require.ElementsMatch(t, want, paths)
		})
	}
}

func TestEncodeIsTheReverseOfDecode(t *testing.T) {
	t.Parallel()
	spec := `{"title":"Pro","currency":"USD","limits":[{"rate":1000,"per":"second","burst":2000},{"quota":1000000,"meter":"calls","per":"month","mode":"soft"}],"charging":{"billable":["2xx"]},"prices":[{"name":"calls","meter":"calls","model":"graduated","tiers":[{"upTo":"5","flat":"100"},{"unit":"1"}],"flatWhenZero":true}]}`
	decoded, err := document("Plan", spec, resource.Metadata{Name: "pro", Product: "weather"}).Decode()
	require.NoError(t, err)
	require.Equal(t, uint64(1000000), decoded.(*catalogv1.PlanSpec).GetLimits()[1].GetQuota())
	encoded, err := resource.EncodeSpec(decoded)
	require.NoError(t, err)
	require.JSONEq(t, spec, string(encoded))
	again, err := resource.EncodeSpec(decoded)
	require.NoError(t, err)
	require.Equal(t, encoded, again, "the same message gives the same bytes")
}

func TestApplyAllOrNone(t *testing.T) {
	t.Parallel()
	account := document("Account", `{"title":"Globex","currency":"EUR"}`, resource.Metadata{Name: "globex"})
	application := document("Application", `{"title":"App"}`, resource.Metadata{Name: "app", Account: "globex"})
	var order []string
	put := func(r resource.Resource, _ proto.Message) (proto.Message, error) {
		order = append(order, r.Kind)
		return nil, nil
	}
	response, err := resource.ApplyAll(resource.ApplyRequest{Resources: []resource.Resource{application, account}}, "identity", put)
	require.NoError(t, err)
	require.Equal(t, []string{"Account", "Application"}, order, "parents first")
	require.Equal(t, "Application", response.Changes[0].Kind, "answers in the order of the request")

	order = nil
	bad := document("Account", `{"titel":"x"}`, resource.Metadata{Name: "acme"})
	foreign := document("API", `{}`, resource.Metadata{Name: "weather"})
	_, err = resource.ApplyAll(resource.ApplyRequest{Resources: []resource.Resource{account, bad, foreign, account}}, "identity", put)
	require.ErrorContains(t, err, "resources[1].spec.titel")
	require.ErrorContains(t, err, "resources[2].kind")
	require.ErrorContains(t, err, "resources[3].metadata.name")
	require.Empty(t, order, "nothing is put when one is wrong")

	_, err = resource.ApplyAll(resource.ApplyRequest{Resources: []resource.Resource{account}}, "identity",
		func(resource.Resource, proto.Message) (proto.Message, error) {
			return nil, problem.NewInvalid("x", "No.").With(problem.Field{Path: "spec.currency", Message: "is wrong"})
		})
	require.ErrorContains(t, err, "resources[0].spec.currency: is wrong")
	_, err = resource.ApplyAll(resource.ApplyRequest{Resources: []resource.Resource{account}}, "identity",
		func(resource.Resource, proto.Message) (proto.Message, error) { return nil, errors.New("broken") })
	require.ErrorContains(t, err, "apply Account globex: broken")
}

func FuzzDecode(f *testing.F) {
	f.Add("Plan", `{"prices":[{"unit":"1"}]}`)
	f.Add("APIVersion", `{"meters":{"a":{"unit":"x"}},"route":{"hosts":["*"]}}`)
	f.Fuzz(func(t *testing.T, kind, spec string) {
		decoded, err := document(kind, spec, resource.Metadata{Name: "a", API: "b"}).Decode()
		if err != nil {
			return
		}
		encoded, err := resource.EncodeSpec(decoded)
		require.NoError(t, err)
		again, err := document(kind, string(encoded), resource.Metadata{Name: "a", API: "b"}).Decode()
		require.NoError(t, err)
		require.True(t, proto.Equal(decoded, again))
	})
}
