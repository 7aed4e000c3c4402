package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

// The specifications, as they are stored and shown.
type (
	APISpec        = resource.Spec[catalogv1.APISpec, *catalogv1.APISpec]
	APIVersionSpec = resource.Spec[catalogv1.APIVersionSpec, *catalogv1.APIVersionSpec]
	ProductSpec    = resource.Spec[catalogv1.ProductSpec, *catalogv1.ProductSpec]
	PlanSpec       = resource.Spec[catalogv1.PlanSpec, *catalogv1.PlanSpec]
)

// API is an API that was not deleted.
type API struct {
	ID        string    `db:"id" json:"id"`
	Name      string    `db:"name" json:"name"`
	Spec      APISpec   `db:"spec" json:"spec"`
	CreatedAt time.Time `db:"created_at" json:"createdAt"`
}

const apiQuery = `SELECT id, name, spec, created_at FROM apis WHERE tenant_id = $1 AND NOT deleted `

// FindAPI returns an API by its name or id.
func FindAPI(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (API, error) {
	return one[API](ctx, tx, "find API", apiQuery+`AND (name = $2 OR id = $2)`, tenant, nameOrID)
}

// LockAPI keeps an API from changing until the end of the transaction: for what must not happen to an API at the same time
// as the registration of a version.
func LockAPI(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `SELECT FROM apis WHERE id = $1 FOR UPDATE`, id)
	return wrap("lock API", err)
}

// APIs returns the APIs with a text in their name or title (all for "") in order of their name, after a name.
func APIs(ctx context.Context, tx pgx.Tx, tenant, search, after string, limit int) ([]API, error) {
	return collect[API](ctx, tx, "list APIs", apiQuery+`AND name > $2 AND `+postgres.HasText("$4", "name", "spec->>'title'")+` ORDER BY name LIMIT $3`, tenant, after, limit, search)
}

// CountVersions returns the number of versions that an API has.
func CountVersions(ctx context.Context, tx pgx.Tx, tenant, api string) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM api_versions WHERE tenant_id = $1 AND api_id = $2`, tenant, api).Scan(&n)
	return n, wrap("count API versions", err)
}

// APIVersion is a version of an API, without its document.
type APIVersion struct {
	ID              string         `db:"id" json:"id"`
	Name            string         `db:"name" json:"name"`
	APIID           string         `db:"api_id" json:"apiId"`
	API             string         `db:"api" json:"api"`
	Stage           string         `db:"stage" json:"stage"`
	Spec            APIVersionSpec `db:"spec" json:"spec" description:"Without the document; see GetAPIVersionDocument."`
	DocumentSHA256  string         `db:"document_sha256" json:"documentSha256"`
	DocumentVersion string         `db:"document_version" json:"documentVersion"`
	// Converted says that the document was made of another: of Swagger 2.0, or of one with external references.
	Converted bool `db:"converted" json:"converted" description:"The document was made of the one given, which is the original: see GetAPIVersionDocument."`
	// Lint is how the document complied with the ruleset when it was registered.
	Lint         *LintSummary `db:"lint" json:"lint,omitempty" description:"Results of the ruleset when the version was registered, where there was one."`
	CreatedAt    time.Time    `db:"created_at" json:"createdAt"`
	DeprecatedAt *time.Time   `db:"deprecated_at" json:"deprecatedAt,omitempty"`
}

const versionQuery = `SELECT v.id, v.name, v.api_id, a.name AS api, v.stage, v.spec, v.document_sha256, v.document_version,
		v.original <> '' AS converted, v.lint, v.created_at, v.deprecated_at
	FROM api_versions v JOIN apis a ON a.id = v.api_id WHERE v.tenant_id = $1 `

// FindAPIVersion returns an API version by its name or id.
func FindAPIVersion(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (APIVersion, error) {
	return one[APIVersion](ctx, tx, "find API version", versionQuery+`AND (v.name = $2 OR v.id = $2)`, tenant, nameOrID)
}

// APIVersions returns the versions of an API (of all for "") with a text in their name or in the API's name or title, in order of their
// name, after a name.
func APIVersions(ctx context.Context, tx pgx.Tx, tenant, api, search, after string, limit int) ([]APIVersion, error) {
	return collect[APIVersion](ctx, tx, "list API versions",
		versionQuery+`AND ($2 = '' OR a.name = $2 OR a.id = $2) AND v.name > $3 AND `+postgres.HasText("$5", "v.name", "a.name", "a.spec->>'title'")+` ORDER BY v.name LIMIT $4`,
		tenant, api, after, limit, search)
}

// References returns the API versions of these names that exist, by name.
func References(ctx context.Context, tx pgx.Tx, tenant string, names []string) (map[string]domain.Reference, error) {
	rows, err := tx.Query(ctx, `SELECT name, id, stage FROM api_versions WHERE tenant_id = $1 AND name = ANY ($2)`, tenant, names)
	if err != nil {
		return nil, wrap("find API versions", err)
	}
	found := map[string]domain.Reference{}
	var name string
	var r domain.Reference
	_, err = pgx.ForEachRow(rows, []any{&name, &r.ID, &r.Stage}, func() error {
		found[name] = r
		return nil
	})
	return found, wrap("find API versions", err)
}

// Document returns the OpenAPI document of a version, by its id.
func Document(ctx context.Context, tx pgx.Tx, version string) (text string, err error) {
	err = tx.QueryRow(ctx, `SELECT document FROM api_versions WHERE id = $1`, version).Scan(&text)
	return text, wrap("read document", err)
}

// Original returns the document of a version as it was given, by the version's id.
func Original(ctx context.Context, tx pgx.Tx, version string) (text string, err error) {
	err = tx.QueryRow(ctx, `SELECT CASE original WHEN '' THEN document ELSE original END FROM api_versions WHERE id = $1`, version).Scan(&text)
	return text, wrap("read original document", err)
}

// Operation is one method and path of a version's document.
type Operation struct {
	Number     int    `db:"number" json:"-"`
	ID         string `db:"id" json:"id"`
	Method     string `db:"method" json:"method"`
	Path       string `db:"path" json:"path"`
	Summary    string `db:"summary" json:"summary,omitempty"`
	Deprecated bool   `db:"deprecated" json:"deprecated"`
	// Security has the alternatives that the document asks of the caller; none means that nothing is asked.
	Security []Security `db:"security" json:"security,omitempty"`
}

// Security is one alternative of what an operation asks of its caller: everything in it together.
type Security struct {
	Types  []string `json:"types,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
}

func securityOf(alternatives []*catalogv1.Security) []Security {
	all := make([]Security, len(alternatives))
	for i, s := range alternatives {
		all[i] = Security{Types: s.GetTypes(), Scopes: s.GetScopes()}
	}
	return all
}

// Message returns the operation as events and documents have it.
func (o Operation) Message() *catalogv1.Operation {
	m := &catalogv1.Operation{Id: o.ID, Method: o.Method, Path: o.Path, Summary: o.Summary, Deprecated: o.Deprecated}
	for _, s := range o.Security {
		m.Security = append(m.Security, &catalogv1.Security{Types: s.Types, Scopes: s.Scopes})
	}
	return m
}

// Operations returns operations of a version in their order, after a number.
func Operations(ctx context.Context, tx pgx.Tx, version string, after, limit int) ([]Operation, error) {
	return collect[Operation](ctx, tx, "list operations", `SELECT number, id, method, path, summary, deprecated, security FROM operations
		WHERE api_version_id = $1 AND number > $2 ORDER BY number LIMIT $3`, version, after, limit)
}

// GatewayVersion is what a gateway's document is made of, besides the operations.
type GatewayVersion struct {
	ID       string         `db:"id"`
	Tenant   string         `db:"tenant_id"`
	Name     string         `db:"name"`
	APIID    string         `db:"api_id"`
	API      string         `db:"api"`
	Stage    string         `db:"stage"`
	Spec     APIVersionSpec `db:"spec"`
	Products []string       `db:"products"`
	// DeprecatedAt is since when the version is deprecated, SunsetAt when it ends.
	DeprecatedAt *time.Time `db:"deprecated_at"`
	SunsetAt     *time.Time `db:"sunset_at"`
}

// GatewayVersions returns the version with this id, or every version that the product with this id includes or has
// included.
func GatewayVersions(ctx context.Context, tx pgx.Tx, id string) ([]GatewayVersion, error) {
	return collect[GatewayVersion](ctx, tx, "read API versions for gateways", `
		SELECT v.id, v.tenant_id, v.name, v.api_id, a.name AS api, v.stage, v.spec, v.deprecated_at, v.sunset_at,
			ARRAY(SELECT p.product_id FROM product_versions p WHERE p.api_version_id = v.id AND p.included ORDER BY p.product_id) AS products
		FROM api_versions v JOIN apis a ON a.id = v.api_id
		WHERE v.id = $1 OR v.id IN (SELECT p.api_version_id FROM product_versions p WHERE p.product_id = $1)
		ORDER BY v.id`, id)
}

// Due is a version whose end has come.
type Due struct {
	ID     string `db:"id"`
	Tenant string `db:"tenant_id"`
}

// DueVersions returns deprecated versions of any tenant whose end has come, some of them at a time. The transaction must see
// all tenants.
func DueVersions(ctx context.Context, tx pgx.Tx, now time.Time) ([]Due, error) {
	return collect[Due](ctx, tx, "find API versions whose end has come", `SELECT id, tenant_id FROM api_versions
		WHERE stage = 'deprecated' AND sunset_at <= $1 ORDER BY sunset_at LIMIT 100`, now)
}
