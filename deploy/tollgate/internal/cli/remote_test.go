package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/suite"
)

// listening is a server that notes which tokens it is sent.
type listening struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
}

func newListening(t *testing.T) *listening {
	t.Helper()
	l := &listening{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tokens = append(l.tokens, r.Header.Get("Authorization"))
		_, _ = fmt.Fprint(w, `{"items":[]}`)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listening) got() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.tokens
	l.tokens = nil
	return got
}

// TestATokenGoesToItsOwnServerAlone has a suite running, a sign-in kept, and a third server. It changes the environment.
func TestATokenGoesToItsOwnServerAlone(t *testing.T) {
	local, signedIn, other := newListening(t), newListening(t), newListening(t)
	home, data := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	write := func(value any, path ...string) {
		t.Helper()
		content, err := json.Marshal(value)
		require.NoError(t, err)
		name := filepath.Join(path...)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, content, 0o600))
	}
	token := filepath.Join(data, "admin-token")
	require.NoError(t, os.WriteFile(token, []byte("tgp_local\n"), 0o600))
	write(suite.Ready{Admin: local.URL, AdminTokenFile: token}, data, "ready.json")
	get := func(args ...string) (int, string) {
		t.Helper()
		code, _, stderr := run(t, append([]string{"get", "apis"}, args...)...)
		return code, stderr
	}

	for _, server := range []string{other.URL, "http://example.invalid:1", "https" + strings.TrimPrefix(local.URL, "http")} {
		code, stderr := get("--data", data, "--server", server)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "--token is missing")
		require.Contains(t, stderr, server)
		require.Contains(t, stderr, local.URL, "it says whose the token is that there is")
	}
	require.Empty(t, other.got())
	code, stderr := get("--data", "nowhere", "--server", other.URL)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "--token is missing")

	for _, args := range [][]string{{}, {"--server", local.URL}, {"--server", strings.ToUpper(local.URL[:4]) + local.URL[4:] + "/"}} {
		code, stderr = get(append(args, "--data", data)...)
		require.Equal(t, 0, code, stderr)
		require.Equal(t, []string{"Bearer tgp_local"}, local.got())
	}

	write(map[string]string{"server": signedIn.URL, "token": "tgs_kept"}, home, "tollgate", "login.json")
	for _, args := range [][]string{{}, {"--server", signedIn.URL}, {"--server", signedIn.URL + "/"}} {
		code, stderr = get(append(args, "--data", data)...)
		require.Equal(t, 0, code, stderr)
		require.Equal(t, []string{"Bearer tgs_kept"}, signedIn.got())
	}
	code, stderr = get("--data", data, "--server", local.URL)
	require.Equal(t, 0, code, stderr)
	require.Equal(t, []string{"Bearer tgp_local"}, local.got())
	code, stderr = get("--data", data, "--server", other.URL)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, signedIn.URL)
	code, stderr = get("--data", data, "--server", other.URL, "--token", "tgp_given")
	require.Equal(t, 0, code, stderr)
	require.Equal(t, []string{"Bearer tgp_given"}, other.got())
}
