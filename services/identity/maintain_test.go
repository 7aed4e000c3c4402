package identity_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/identity"
)

// What operations write into the tables is what the log says of them.
func TestTablesFollowFromTheLog(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "")
	f.admin.Must("PUT", "/identity/v1/roles/auditor", `{"title":"Auditor","scopes":["identity.read"]}`, nil)
	member, _ := f.memberWith(t, "robin@example.com", "auditor")
	for _, body := range []string{
		`{"title":"Scopes","scopes":["catalog.read"]}`, `{"title":"All"}`, `{"title":"Installation","operator":true,"scopes":["identity.read"]}`,
		fmt.Sprintf(`{"title":"Another's","member":%q}`, member),
	} {
		f.admin.Must("POST", "/identity/v1/tokens", body, nil)
	}
	f.admin.Must("POST", "/identity/v1/tenants", fmt.Sprintf(newTenant, "second"), nil)
	f.configure(t, `,"defaultRoles":["viewer"]`)
	f.application(t, f.admin, "globex", "globex-app")
	f.admin.Must("POST", credentialsPath, `{"title":"Live"}`, nil)
	f.admin.Must("DELETE", "/identity/v1/accounts/globex", nil, nil)
	f.admin.Must("DELETE", "/identity/v1/members/"+member, nil, nil)

	// The service may run meanwhile; what it has just appended may not be in the stream yet.
	var out bytes.Buffer
	testkit.Await(t, patience, func() bool {
		out.Reset()
		config := identity.Config{Service: f.Config("identity"), SealKey: base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))}
		config.Service.PostgresURL = f.database
		s, err := identity.New(t.Context(), config, f.Deps(nil))
		require.NoError(t, err)
		err = s.Maintain(t.Context(), service.TaskCheck, &out)
		require.True(t, err == nil || errors.Is(err, service.ErrDifferent), "%v", err)
		return err == nil
	})
	require.Contains(t, out.String(), "0 rows differ")
}
