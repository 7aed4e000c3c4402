package domain

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// Plan has the limits, charging rules and prices of a product, in versions that never change.
type Plan struct {
	ID, Product, Name string
	// Version is the newest, from 1; Spec is its content.
	Version uint32
	Spec    *catalogv1.PlanSpec
	Retired bool
}

// Evolve applies an event.
func (p Plan) Evolve(event proto.Message) Plan {
	switch e := event.(type) {
	case *catalogv1.PlanPublished:
		p.ID, p.Product, p.Name, p.Version, p.Spec = e.GetPlan(), e.GetProduct(), e.GetName(), e.GetVersion(), e.GetSpec()
	case *catalogv1.PlanRetired:
		p.Retired = true
	}
	return p
}

// NewPlan returns a plan that has no version yet.
func NewPlan(id, product, name string) Plan { return Plan{ID: id, Product: product, Name: name} }

// Publish makes the newest version of the plan as the spec says: a spec that differs from it becomes the next version.
// meters are those that the product's API versions declare.
func (p Plan) Publish(spec *catalogv1.PlanSpec, meters []string) ([]proto.Message, error) {
	if p.Version > 0 && proto.Equal(p.Spec, spec) {
		return nil, nil
	}
	if p.Retired {
		return nil, problem.NewConflict("plan-retired", "The plan %s is retired and gets no more versions; publish a plan of another name.", p.Name)
	}
	if err := checkPlan(spec, meters); err != nil {
		return nil, err
	}
	return []proto.Message{&catalogv1.PlanPublished{
		Plan: p.ID, Product: p.Product, Name: p.Name, Version: p.Version + 1, Spec: spec,
	}}, nil
}

// Retire ends the plan for new subscriptions; those there are go on.
func (p Plan) Retire() ([]proto.Message, error) {
	if p.Retired {
		return nil, nil
	}
	return []proto.Message{&catalogv1.PlanRetired{Plan: p.ID}}, nil
}

// checkPlan leaves prices, limits and charging to libs/rating, which bills by them.
func checkPlan(spec *catalogv1.PlanSpec, meters []string) error {
	var fields problem.Fields
	checkTitle("spec.title", spec.GetTitle(), &fields)
	checkLength("spec.description", spec.GetDescription(), maxDescription, &fields)
	checkTerms(spec, &fields)
	if _, err := rating.Compile(spec); err != nil {
		var known *problem.Error
		if !errors.As(err, &known) {
			return err
		}
		for _, f := range known.Fields {
			fields.Add("spec."+f.Path, "%s", f.Message)
		}
	}
	used := usedMeters(spec)
	for _, path := range slices.Sorted(maps.Keys(used)) {
		if meter := used[path]; !slices.Contains(meters, meter) {
			fields.Add("spec."+path, "%q is not a meter of the product, whose API versions declare %s", meter, list(meters))
		}
	}
	return fields.Err("plan-invalid", "The plan is not valid.")
}

func list(meters []string) string {
	if len(meters) == 0 {
		return "none; there is calls alone"
	}
	return strings.Join(slices.Sorted(slices.Values(meters)), ", ") + "; there is calls too"
}

// usedMeters returns the meters that prices and limits name, besides calls, by the path of the field.
func usedMeters(spec *catalogv1.PlanSpec) map[string]string {
	used := map[string]string{}
	for i, l := range spec.GetLimits() {
		used[fmt.Sprintf("limits[%d].meter", i)] = l.GetMeter()
	}
	for i, p := range spec.GetPrices() {
		used[fmt.Sprintf("prices[%d].meter", i)] = p.GetMeter()
	}
	for path, meter := range used {
		if meter == "" || meter == meterCalls {
			delete(used, path)
		}
	}
	return used
}

// CheckMeters says whether the product's API versions still declare every meter that a plan goes by.
func CheckMeters(product, plan string, spec *catalogv1.PlanSpec, meters []string) error {
	for _, meter := range slices.Sorted(maps.Values(usedMeters(spec))) {
		if !slices.Contains(meters, meter) {
			return problem.NewConflict("meter-in-use", "The plan %s of the product %s goes by the meter %s, which none of the product's API versions would declare any more. Publish the plan without it first, in the same apply if you like.", plan, product, meter)
		}
	}
	return nil
}

// maxExpiry is how long a request may wait, in days.
const maxExpiry = 3650

// checkTerms checks what the subscription service goes by.
func checkTerms(spec *catalogv1.PlanSpec, fields *problem.Fields) {
	if terms := spec.GetTerms(); terms != nil {
		if terms.GetVersion() == "" || len(terms.GetVersion()) > maxTitle {
			fields.Add("spec.terms.version", `is not 1 to %d bytes long; name the wording, as in "2027-01"`, maxTitle)
		}
		u, err := url.Parse(terms.GetUrl())
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || len(terms.GetUrl()) > maxURL {
			fields.Add("spec.terms.url", "%q is not an absolute URL without credentials as in https://example.com/terms/2027-01", terms.GetUrl())
		}
	}
	switch days := spec.GetRequestExpiresDays(); {
	case days > maxExpiry:
		fields.Add("spec.requestExpiresDays", "%d is more than %d days", days, maxExpiry)
	case days > 0 && spec.GetApproval() == "auto" && spec.GetCapacity() == 0:
		fields.Add("spec.requestExpiresDays", "is set, but requests for the plan are approved at once and never wait; set approval to required, or a capacity")
	}
}
