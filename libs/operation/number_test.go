package operation

import (
	"fmt"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
)

// TestNumbersDoNotWrap gives numbers that a field has no room for.
func TestNumbersDoNotWrap(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		small uint32
		wrong bool
	}{
		"1": {1, false}, "4294967295": {4294967295, false}, "4294967296": {0, true}, "4294967297": {0, true}, "18446744073709551617": {0, true},
		"-1": {0, true}, "1.0": {0, true}, "1e3": {0, true}, "+1": {0, true},
	} {
		var request struct {
			Small uint32 `query:"version"`
		}
		var fields problem.Fields
		bind(httptest.NewRequest("GET", fmt.Sprintf("/?version=%s", text), nil), reflect.ValueOf(&request).Elem(), &fields)
		err := fields.Err("request-invalid", "No.")
		require.Equal(t, c.wrong, err != nil, text)
		require.Equal(t, c.small, request.Small, text)
		if c.wrong {
			require.ErrorContains(t, err, "whole number from 0 to 4294967295", text)
		}
	}
	var large struct {
		Large uint64 `query:"position"`
		Whole int    `query:"whole"`
	}
	var fields problem.Fields
	bind(httptest.NewRequest("GET", "/?position=18446744073709551615&whole=-9223372036854775808", nil), reflect.ValueOf(&large).Elem(), &fields)
	require.NoError(t, fields.Err("request-invalid", "No."))
	require.Equal(t, uint64(18446744073709551615), large.Large)
	bind(httptest.NewRequest("GET", "/?whole=9223372036854775808", nil), reflect.ValueOf(&large).Elem(), &fields)
	require.ErrorContains(t, fields.Err("request-invalid", "No."), "whole number")
}
