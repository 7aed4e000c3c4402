package operation

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"github.com/tollgate/tollgate/libs/problem"
)

// OpenAPI returns the OpenAPI 3.1 document of the service, generated from the table of operations.
func (a *API) OpenAPI() ([]byte, error) {
	r := openapi31.NewReflector()
	r.Spec.Info.WithTitle(a.title).WithVersion(versionOr(a.version)).
		WithDescription("The management API of Tollgate's " + a.service + " service.")
	r.Spec.SetHTTPBearerTokenSecurity("token", "JWT", "A signed token, or at the admin listener a personal access token.")
	for _, d := range a.operations {
		if err := describe(r, d); err != nil {
			return nil, fmt.Errorf("describe %s.%s: %w", a.service, d.name, err)
		}
	}
	return json.MarshalIndent(r.Spec, "", "  ")
}

func describe(r *openapi31.Reflector, d definition) error {
	oc, err := r.NewOperationContext(d.method, d.path)
	if err != nil {
		return err
	}
	oc.SetID(d.name)
	oc.SetSummary(d.summary)
	if !d.public {
		oc.AddSecurity("token")
	}
	if d.scope != "" {
		oc.SetDescription("Needs the scope " + d.scope + ".")
	}
	if d.request.NumField() > 0 {
		oc.AddReqStructure(reflect.New(d.request).Interface())
	}
	if headers := commonHeaders(d); headers != nil {
		oc.AddReqStructure(headers)
	}
	switch d.response {
	case reflect.TypeFor[Empty]():
		oc.AddRespStructure(nil, openapi.WithHTTPStatus(http.StatusNoContent))
	case reflect.TypeFor[Raw]():
		if len(d.answers) > 0 {
			describeAnswers(oc, d.answers)
			break
		}
		oc.AddRespStructure(new(string), openapi.WithHTTPStatus(d.status), openapi.WithContentType("application/octet-stream"))
	default:
		oc.AddRespStructure(reflect.New(d.response).Interface(), openapi.WithHTTPStatus(d.status))
	}
	if d.failure == nil {
		oc.AddRespStructure(new(problem.Document), func(c *openapi.ContentUnit) {
			c.IsDefault = true
			c.ContentType = problem.ContentType
			c.Description = "The problem (RFC 9457)."
		})
	}
	return r.AddOperation(oc)
}

// describeAnswers describes what Raw answers hold.
func describeAnswers(oc openapi.OperationContext, answers map[int]any) {
	for _, status := range slices.Sorted(maps.Keys(answers)) {
		oc.AddRespStructure(answers[status], func(c *openapi.ContentUnit) {
			if c.HTTPStatus = status; status == 0 {
				c.IsDefault, c.Description = true, "The error."
			}
		})
	}
}

type readHeaders struct {
	After string `header:"Tollgate-After" description:"Positions that the answer must reflect, as in identity=12, catalog=45."`
}

type commandHeaders struct {
	IdempotencyKey string `header:"Idempotency-Key" description:"A repeated command with the same key answers as the first did." maxLength:"200"`
	Reason         string `header:"Tollgate-Reason" description:"Why; kept with the event." maxLength:"500"`
	DryRun         string `header:"Tollgate-Dry-Run" description:"true: the outcome without the effect." enum:"true,false"`
}

// commonHeaders are the headers that have an effect on the operation.
func commonHeaders(d definition) any {
	command := d.method != http.MethodGet && !d.direct
	switch {
	case command && d.public:
		return new(commandHeaders)
	case command:
		return new(struct {
			readHeaders
			commandHeaders
		})
	case d.public:
		return nil
	}
	return new(readHeaders)
}

func versionOr(version string) string {
	if version == "" {
		return "0.0.0"
	}
	return version
}
