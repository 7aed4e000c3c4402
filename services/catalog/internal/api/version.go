package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/catalog/internal/app"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

type putAPIVersion struct {
	APIVersion string               `path:"apiVersion"`
	API        string               `json:"api" required:"true" description:"Name or id of the API that it belongs to."`
	Spec       store.APIVersionSpec `json:"spec" required:"true" description:"openapi is the document itself, or with gzip in a data URL (data:application/gzip;base64,...), and can be left out once the version is registered."`
}

type versionPath struct {
	APIVersion string `path:"apiVersion" description:"Name or id."`
}

type listVersions struct {
	operation.Page
	operation.Search
	API string `query:"api" description:"Name or id of an API."`
}

type listOperations struct {
	operation.Page
	APIVersion string `path:"apiVersion" description:"Name or id."`
}

type changeStage struct {
	APIVersion string `path:"apiVersion" description:"Name or id."`
	Stage      string `json:"stage" required:"true" enum:"draft,mocked,published,deprecated,retired"`
	// Sunset and DeprecationLink go with the stage deprecated.
	Sunset          string `json:"sunset,omitempty" description:"Stage deprecated: when the version stops being served, as a date (its beginning in UTC) or a time (RFC 3339)."`
	DeprecationLink string `json:"deprecationLink,omitempty" description:"Stage deprecated: URL of how to move to another version."`
}

type getDocument struct {
	versionPath
	Original bool `query:"original" description:"true: the document as it was given, where another was made of it."`
}

const versionsPath = "/api-versions/{apiVersion}"

func registerVersions(a *operation.API, c *app.Catalog) {
	operation.Register(a, operation.Op[putAPIVersion, store.APIVersion]{
		Name: "PutAPIVersion", Method: http.MethodPut, Path: versionsPath, Scope: write, Timeout: documentTimeout,
		Summary: "Register the API version of this name, or configure it; its document never changes.",
		Handle: func(ctx context.Context, r *putAPIVersion) (store.APIVersion, error) {
			return c.PutAPIVersion(ctx, r.API, r.APIVersion, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[listVersions, operation.List[store.APIVersion]]{
		Name: "ListAPIVersions", Method: http.MethodGet, Path: "/api-versions", Scope: read, Summary: "API versions, of one API or of all.",
		Handle: func(ctx context.Context, r *listVersions) (operation.List[store.APIVersion], error) {
			rows, err := c.APIVersions(ctx, r.API, r.Text, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(v store.APIVersion) string { return v.Name }), err
		},
	})
	operation.Register(a, operation.Op[versionPath, store.APIVersion]{
		Name: "GetAPIVersion", Method: http.MethodGet, Path: versionsPath, Scope: read, Summary: "One API version, without its document.",
		Handle: func(ctx context.Context, r *versionPath) (store.APIVersion, error) {
			return c.APIVersion(ctx, r.APIVersion)
		},
	})
	operation.Register(a, operation.Op[getDocument, operation.Raw]{
		Name: "GetAPIVersionDocument", Method: http.MethodGet, Path: versionsPath + "/document", Scope: read,
		Summary: "The OpenAPI document of an API version.",
		Handle: func(ctx context.Context, r *getDocument) (operation.Raw, error) {
			text, err := c.Document(ctx, r.APIVersion, r.Original)
			return operation.Raw{ContentType: mediaType(text), Body: []byte(text)}, err
		},
	})
	operation.Register(a, operation.Op[listOperations, operation.List[store.Operation]]{
		Name: "ListOperations", Method: http.MethodGet, Path: versionsPath + "/operations", Scope: read,
		Summary: "The operations of an API version, in order of path and method.",
		Handle: func(ctx context.Context, r *listOperations) (operation.List[store.Operation], error) {
			after, err := number("cursor", r.Cursor)
			if err != nil {
				return operation.List[store.Operation]{}, err
			}
			rows, err := c.Operations(ctx, r.APIVersion, after, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(o store.Operation) string { return strconv.Itoa(o.Number) }), err
		},
	})
	operation.Register(a, operation.Op[changeStage, store.APIVersion]{
		Name: "ChangeStage", Method: http.MethodPost, Path: versionsPath + "/stage", Scope: write, Timeout: documentTimeout,
		Summary: "Move an API version along its life cycle.",
		Handle: func(ctx context.Context, r *changeStage) (store.APIVersion, error) {
			return c.ChangeStage(ctx, r.APIVersion, r.Stage, domain.Ending{Sunset: r.Sunset, Link: r.DeprecationLink})
		},
	})
}

func mediaType(document string) string {
	if strings.HasPrefix(strings.TrimSpace(document), "{") {
		return "application/json"
	}
	return "application/yaml" // RFC 9512
}

// number reads an optional whole number of a cursor.
func number(path, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: path, Message: "is not the next of a page before"})
	}
	return int(n), nil
}
