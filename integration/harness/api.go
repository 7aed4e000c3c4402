package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// API calls the management API.
type API struct {
	admin, token string
	tb           testing.TB
}

// NewAPI returns a client of an admin listener.
func NewAPI(tb testing.TB, admin, token string) *API {
	return &API{admin: admin, token: token, tb: tb}
}

// Do sends a request and returns the status and the body.
func (a *API) Do(method, path string, body any, headers ...string) (int, []byte) {
	a.tb.Helper()
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		require.NoError(a.tb, err)
		payload = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(a.tb.Context(), method, a.admin+path, payload)
	require.NoError(a.tb, err)
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Timeout: time.Minute}).Do(r)
	require.NoError(a.tb, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(a.tb, err)
	return response.StatusCode, data
}

// Must is Do that wants a 2xx and decodes the body into out, unless it is nil.
func (a *API) Must(method, path string, body, out any, headers ...string) {
	a.tb.Helper()
	status, data := a.Do(method, path, body, headers...)
	require.Less(a.tb, status, 300, "%s %s: %s", method, path, data)
	if out != nil {
		require.NoError(a.tb, json.Unmarshal(data, out), string(data))
	}
}

// Try is Must for polling: it returns what is wrong instead of failing.
func (a *API) Try(method, path string, out any) error {
	status, data := a.Do(method, path, nil)
	if status >= 300 {
		return fmt.Errorf("%s %s: %d: %s", method, path, status, data)
	}
	return json.Unmarshal(data, out)
}
