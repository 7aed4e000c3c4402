package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/catalog/internal/app"
	"github.com/tollgate/tollgate/services/catalog/internal/inspect"
	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

type putRuleset struct {
	Ruleset string            `path:"ruleset" description:"The name, default."`
	Spec    store.RulesetSpec `json:"spec" required:"true"`
}

type rulesetPath struct {
	Ruleset string `path:"ruleset" description:"Name or id."`
}

type lintDocument struct {
	OpenAPI string `json:"openapi" required:"true" description:"The document, or with gzip in a data URL (data:application/gzip;base64,...)."`
	Rules   string `json:"rules,omitempty" description:"A ruleset in Spectral's format to try; the tenant's when left out, or the one that comes with Tollgate."`
}

type compareVersions struct {
	versionPath
	Base string `query:"base" required:"true" description:"Name or id of the version before."`
}

type getChangelog struct {
	operation.Page
	apiPath
}

func registerGovernance(a *operation.API, c *app.Catalog) {
	operation.Register(a, operation.Op[putRuleset, store.Ruleset]{
		Name: "PutRuleset", Method: http.MethodPut, Path: "/rulesets/{ruleset}", Scope: write,
		Summary: "Make the tenant's ruleset as the specification says: documents are checked against it when they are registered.",
		Handle: func(ctx context.Context, r *putRuleset) (store.Ruleset, error) {
			return c.PutRuleset(ctx, r.Ruleset, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[rulesetPath, store.Ruleset]{
		Name: "GetRuleset", Method: http.MethodGet, Path: "/rulesets/{ruleset}", Scope: read, Summary: "The tenant's ruleset.",
		Handle: func(ctx context.Context, r *rulesetPath) (store.Ruleset, error) { return c.Ruleset(ctx, r.Ruleset) },
	})
	operation.Register(a, operation.Op[rulesetPath, operation.Empty]{
		Name: "DeleteRuleset", Method: http.MethodDelete, Path: "/rulesets/{ruleset}", Scope: write,
		Summary: "Delete the tenant's ruleset: documents are not checked any more when they are registered.",
		Handle: func(ctx context.Context, r *rulesetPath) (operation.Empty, error) {
			return operation.Empty{}, c.DeleteRuleset(ctx, r.Ruleset)
		},
	})
	operation.Register(a, operation.Op[lintDocument, *ruleset.Report]{
		Name: "LintDocument", Method: http.MethodPost, Path: "/lint", Scope: read, Timeout: documentTimeout,
		Summary: "What an OpenAPI document does not comply with, without registering it.",
		Handle: func(ctx context.Context, r *lintDocument) (*ruleset.Report, error) {
			return c.LintDocument(ctx, r.OpenAPI, r.Rules)
		},
	})
	operation.Register(a, operation.Op[versionPath, *ruleset.Report]{
		Name: "LintAPIVersion", Method: http.MethodGet, Path: versionsPath + "/lint", Scope: read, Timeout: documentTimeout,
		Summary: "What the document of an API version does not comply with: the tenant's ruleset, or the one that comes with Tollgate.",
		Handle: func(ctx context.Context, r *versionPath) (*ruleset.Report, error) {
			return c.LintVersion(ctx, r.APIVersion)
		},
	})
	operation.Register(a, operation.Op[compareVersions, *inspect.Comparison]{
		Name: "CompareAPIVersions", Method: http.MethodGet, Path: versionsPath + "/comparison", Scope: read, Timeout: documentTimeout,
		Summary: "What differs between the documents of two API versions, and what of it breaks clients.",
		Handle: func(ctx context.Context, r *compareVersions) (*inspect.Comparison, error) {
			if r.Base == "" {
				return nil, problem.NewInvalid("request-invalid", "The request is not valid.").With(
					problem.Field{Path: "base", Message: "is missing; name the API version to compare with"})
			}
			return c.Compare(ctx, r.Base, r.APIVersion)
		},
	})
	operation.Register(a, operation.Op[getChangelog, operation.List[app.Entry]]{
		Name: "GetChangelog", Method: http.MethodGet, Path: "/apis/{api}/changelog", Scope: read, Timeout: documentTimeout,
		Summary: "What happened to the versions of an API, the newest first: stages, and what each version changed of the one published before.",
		Handle: func(ctx context.Context, r *getChangelog) (operation.List[app.Entry], error) {
			before, err := entryOf(r.Cursor)
			if err != nil {
				return operation.List[app.Entry]{}, err
			}
			entries, err := c.Changelog(ctx, r.API, before, r.Size())
			return operation.PageOf(entries, r.Page, cursorOf), err
		},
	})
}

// cursorOf and entryOf carry the place of an entry.
func cursorOf(e app.Entry) string {
	return strconv.FormatInt(e.At.UnixMicro(), 10) + "." + e.APIVersionID + "." + strconv.Itoa(e.Number)
}

func entryOf(cursor string) (store.StageChange, error) {
	if cursor == "" {
		return store.StageChange{}, nil
	}
	parts := strings.Split(cursor, ".")
	if len(parts) == 3 {
		at, err := strconv.ParseInt(parts[0], 10, 64)
		n, nErr := strconv.ParseInt(parts[2], 10, 32)
		if err == nil && nErr == nil && at > 0 {
			return store.StageChange{At: time.UnixMicro(at).UTC(), APIVersionID: parts[1], Number: int(n)}, nil
		}
	}
	return store.StageChange{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(
		problem.Field{Path: "cursor", Message: "is not the next of a page before"})
}
