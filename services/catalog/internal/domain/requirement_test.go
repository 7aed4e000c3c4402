package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

func TestAccess(t *testing.T) {
	t.Parallel()
	const (
		key   = `{"types":["apiKey"]}`
		read  = `{"types":["oauth2"],"scopes":["read"]}`
		write = `{"types":["openIdConnect"],"scopes":["write","read"]}`
		basic = `{"types":["http"]}`
	)
	for name, c := range map[string]struct{ spec, security, want string }{
		"nothing asked":              {`"authenticate":["apiKey"]`, ``, ``},
		"open version":               {``, read, ``},
		"scopes":                     {`"authenticate":["oauth2"]`, read, `"scopes":[{"scopes":["read"]}]`},
		"alternatives":               {`"authenticate":["oauth2"]`, read + "," + write, `"scopes":[{"scopes":["read"]},{"scopes":["write","read"]}]`},
		"or a key":                   {`"authenticate":["apiKey"]`, read + "," + key, ``},
		"a key that is not accepted": {`"authenticate":["oauth2"]`, read + "," + key, `"scopes":[{"scopes":["read"]}]`},
		"keys and tokens":            {`"authenticate":["apiKey","jwt"]`, read + "," + key, `"scopes":[{"scopes":["read"]}]`},
		"a key alone":                {`"authenticate":["oauth2"]`, key, ``},
		"other scheme":               {`"authenticate":["jwt"]`, read + "," + basic, ``},
		"other scheme, keys alone":   {`"authenticate":["apiKey"]`, basic + "," + read, `"scopes":[{"scopes":["read"]}]`},
		"not needed":                 {`"authenticate":["oauth2"]`, read + ",{}", ``},
		"list":                       {`"authenticate":["oauth2"],"access":[{"scopes":["all"]},{"operations":["GET /a"],"roles":["admin"]},{"operations":["b"],"scopes":["b"]}]`, ``, `"scopes":[{"scopes":["all"]}],"roles":["admin"]`},
		"list and document":          {`"authenticate":["oauth2"],"access":[{"scopes":["all","read"]}]`, read + "," + write, `"scopes":[{"scopes":["all","read"]},{"scopes":["all","read","write"]}]`},
		"list, not needed":           {`"authenticate":["oauth2"],"access":[{"scopes":["all"]}]`, `{}`, `"scopes":[{"scopes":["all"]}]`},
		"roles alone":                {`"authenticate":["oauth2"],"access":[{"roles":["admin"]}]`, key, `"roles":["admin"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var spec catalogv1.APIVersionSpec
			require.NoError(t, protojson.Unmarshal([]byte("{"+c.spec+"}"), &spec))
			var o catalogv1.Operation
			require.NoError(t, protojson.Unmarshal([]byte(`{"id":"a","method":"GET","path":"/a","security":[`+c.security+`]}`), &o))
			got := domain.AccessOf(&spec, &o)
			if c.want == "" {
				require.Nil(t, got)
				return
			}
			var want gatewayv1.OperationAccess
			require.NoError(t, protojson.Unmarshal([]byte(`{"operation":"a",`+c.want+"}"), &want))
			require.Equal(t, want.String(), got.String())
		})
	}
}
