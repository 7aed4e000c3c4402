package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

func TestHostsOverlap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"*", "*", true},
		{"*", "api.a.com", true},
		{"*", "*.a.com", true},
		{"api.a.com", "api.a.com", true},
		{"api.a.com", "api.b.com", false},
		{"*.a.com", "api.a.com", true},
		{"*.a.com", "x.api.a.com", true},
		{"*.a.com", "*.api.a.com", true},
		{"*.a.com", "a.com", false},
		{"*.a.com", "api.ba.com", false},
		{"*.a.com", "apia.com", false},
		{"*.a.com", "*.b.com", false},
		{"a.com", "api.a.com", false},
	} {
		require.Equal(t, c.want, domain.HostsOverlap(c.a, c.b), "%s and %s", c.a, c.b)
		require.Equal(t, c.want, domain.HostsOverlap(c.b, c.a), "%s and %s", c.b, c.a)
	}
	for prefix, want := range map[string]string{"/": "", "/weather": "weather", "/weather/v1": "weather"} {
		require.Equal(t, want, domain.FirstSegment(prefix), prefix)
	}
}
