package config

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestLargeDocumentsComeCompressed(t *testing.T) {
	t.Parallel()
	compress := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	text, err := openapiOf(&gatewayv1.APIDocument{OpenapiGzip: compress("openapi: 3.1.0")})
	require.NoError(t, err)
	require.Equal(t, "openapi: 3.1.0", text)
	text, err = openapiOf(&gatewayv1.APIDocument{Openapi: "openapi: 3.0.3"})
	require.NoError(t, err)
	require.Equal(t, "openapi: 3.0.3", text)
	_, err = openapiOf(&gatewayv1.APIDocument{OpenapiGzip: []byte("not gzip")})
	require.ErrorContains(t, err, "openapi_gzip")
	_, err = openapiOf(&gatewayv1.APIDocument{OpenapiGzip: compress(strings.Repeat("x", maxOpenAPI+1))})
	require.ErrorContains(t, err, "is longer than")
}
