package cors

import (
	"testing"

	"github.com/stretchr/testify/require"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

type fields map[string]string

func (f fields) header(name string) []byte {
	if v, ok := f[name]; ok {
		return []byte(v)
	}
	return nil
}

func (f fields) set(name, value string) { f[name] = value }

func TestPreflight(t *testing.T) {
	t.Parallel()
	request := fields{"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
	require.True(t, Preflight("OPTIONS", request.header))
	require.False(t, Preflight("GET", request.header))
	require.False(t, Preflight("OPTIONS", fields{"Origin": "x"}.header))
	for name, c := range map[string]struct {
		policy *catalogv1.Policy
		want   fields
	}{
		"any": {&catalogv1.Policy{Origins: []string{"*"}, MaxAge: "10m"}, fields{
			"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, POST", "Access-Control-Allow-Headers": "x-api-key", "Access-Control-Max-Age": "600",
		}},
		"named": {&catalogv1.Policy{Origins: []string{"https://App.example.com"}, Methods: []string{"PUT"}, Headers: []string{"A", "B"}, Credentials: true}, fields{
			"Access-Control-Allow-Origin": "https://app.example.com", "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "A, B",
			"Access-Control-Allow-Credentials": "true", "Vary": "Origin",
		}},
		"not allowed": {&catalogv1.Policy{Origins: []string{"https://other.example.com"}}, fields{"Vary": "Origin"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := New(c.policy, []string{"POST", "GET", "GET"})
			require.NoError(t, err)
			got := fields{}
			p.AnswerPreflight(request.header, got.set)
			require.Equal(t, c.want, got)
		})
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	p, err := New(&catalogv1.Policy{Origins: []string{"*"}, Expose: []string{"RateLimit"}}, nil)
	require.NoError(t, err)
	got := fields{}
	p.Answer("", got.set)
	require.Empty(t, got)
	p.Answer("https://x.example", got.set)
	require.Equal(t, fields{"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "RateLimit"}, got)
}

func TestPoliciesThatAreWrong(t *testing.T) {
	t.Parallel()
	_, err := New(&catalogv1.Policy{Origins: []string{"*", "app.example.com", "https://x/"}, Credentials: true, MaxAge: "soon"}, nil)
	for _, want := range []string{"origins[1]", "origins[2]", "credentials", "max_age"} {
		require.ErrorContains(t, err, want)
	}
	_, err = New(&catalogv1.Policy{}, nil)
	require.ErrorContains(t, err, "origins: is empty")
}
