package identity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
)

// What has its effect at once refuses to be tried without it.
func TestDirectOperationsTakeNoDryRun(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	for path, body := range map[string]string{
		"/identity/v1/sessions":           `{"tenant":"main","email":"robin@example.com","password":"x"}`,
		"/identity/v1/sso/sessions":       `{"code":"x"}`,
		"/identity/v1/password-resets":    `{"tenant":"main","email":"robin@example.com"}`,
		"/identity/v1/tokens/exchange":    `{"token":"x"}`,
		"/identity/v1/deliveries/x/retry": ``,
	} {
		answer := p.admin.Do("POST", path, body, operation.HeaderDryRun, "true")
		require.Equal(t, 400, answer.Status, "%s: %s", path, answer.Body)
		require.Contains(t, answer.Body, "dry-run-impossible", path)
	}
	require.Empty(t, p.resets(t))
	answer := p.Client("").Do("POST", "/identity/v1/oauth/token", "grant_type=client_credentials", operation.HeaderDryRun, "true", "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, 400, answer.Status, answer.Body)
	require.Contains(t, answer.Body, "takes no dry run")
}
