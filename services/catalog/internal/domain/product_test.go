package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

func product(title string, includes ...string) *catalogv1.ProductSpec {
	s := &catalogv1.ProductSpec{Title: title}
	for _, name := range includes {
		s.Includes = append(s.Includes, &catalogv1.ProductItem{ApiVersion: name})
	}
	return s
}

var versions = map[string]domain.Reference{
	"a-v1": {ID: "1", Stage: domain.Published}, "a-v2": {ID: "2", Stage: domain.Draft}, "old": {ID: "3", Stage: domain.Retired},
}

func TestProducts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec *catalogv1.ProductSpec
		path string
	}{
		"right":           {product("P", "a-v1", "a-v2"), ""},
		"no title":        {product(" ", "a-v1"), "spec.title"},
		"nothing in it":   {product("P"), "spec.includes"},
		"unknown version": {product("P", "a-v1", "b-v1"), "spec.includes[1].apiVersion"},
		"twice":           {product("P", "a-v1", "a-v1"), "spec.includes[1].apiVersion"},
		"retired":         {product("P", "old"), "spec.includes[0].apiVersion"},
	} {
		events, err := domain.CreateProduct("p", "weather", c.spec, versions)
		if c.path == "" {
			require.NoError(t, err, name)
			require.Equal(t, []string{"1", "2"}, events[0].(*catalogv1.ProductCreated).GetApiVersions())
			continue
		}
		var known *problem.Error
		require.ErrorAs(t, err, &known, name)
		require.Equal(t, c.path, known.Fields[0].Path, name)
	}
}

func TestARetiredVersionMayStayInAProduct(t *testing.T) {
	t.Parallel()
	p := domain.Product{}.Evolve(&catalogv1.ProductCreated{Product: "p", Name: "weather", Spec: product("P", "old"), ApiVersions: []string{"3"}})
	events, err := p.Change(product("P", "old"), versions)
	require.NoError(t, err)
	require.Empty(t, events)
	events, err = p.Change(product("P", "old", "a-v1"), versions)
	require.NoError(t, err)
	require.Equal(t, []string{"3", "1"}, apply(p, domain.Product.Evolve, events).APIVersions)
}

func plan(title string, prices ...*catalogv1.Price) *catalogv1.PlanSpec {
	return &catalogv1.PlanSpec{Title: title, Currency: "USD", Prices: prices}
}

func TestPlansAreCheckedAsTheyAreBilled(t *testing.T) {
	t.Parallel()
	rows := &catalogv1.Price{Name: "rows", Meter: "rows", Model: "unit", Unit: "0.1"}
	for name, c := range map[string]struct {
		spec *catalogv1.PlanSpec
		path string
	}{
		"right":              {plan("P", rows), ""},
		"free":               {plan("P"), ""},
		"no title":           {plan("", rows), "spec.title"},
		"no currency":        {&catalogv1.PlanSpec{Title: "P"}, "spec.currency"},
		"negative":           {plan("P", &catalogv1.Price{Name: "a", Meter: "calls", Model: "unit", Unit: "-1"}), "spec.prices[0].unit"},
		"undeclared meter":   {plan("P", rows, &catalogv1.Price{Name: "a", Meter: "words", Model: "unit", Unit: "1"}), "spec.prices[1].meter"},
		"undeclared quota":   {&catalogv1.PlanSpec{Title: "P", Currency: "USD", Limits: []*catalogv1.Limit{{Quota: 9, Meter: "words", Per: "day", Mode: "soft"}}}, "spec.limits[0].meter"},
		"period":             {&catalogv1.PlanSpec{Title: "P", Currency: "USD", Period: &catalogv1.Period{TimeZone: "Mars"}}, "spec.period.timeZone"},
		"fields of no model": {plan("P", &catalogv1.Price{Name: "a", Meter: "calls", Model: "unit", Unit: "1", Amount: "1"}), "spec.prices[0].amount"},
	} {
		_, err := domain.NewPlan("l", "p", "pro").Publish(c.spec, []string{"rows"})
		if c.path == "" {
			require.NoError(t, err, name)
			continue
		}
		var known *problem.Error
		require.ErrorAs(t, err, &known, name)
		require.Equal(t, c.path, known.Fields[0].Path, name)
	}
	require.NoError(t, domain.CheckMeters("weather", "pro", plan("P", rows), []string{"rows"}))
	require.ErrorContains(t, domain.CheckMeters("weather", "pro", plan("P", rows), nil), "the meter rows")
}

// Versions of a plan are 1, 2, 3, …; each differs from the one before, and none comes after the plan was retired.
func TestPlanProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := domain.NewPlan("l", "p", "pro")
		for range rapid.IntRange(1, 20).Draw(t, "commands") {
			if p.Version > 0 && rapid.IntRange(0, 9).Draw(t, "retire") == 0 {
				events, err := p.Retire()
				require.NoError(t, err)
				require.Equal(t, p.Retired, len(events) == 0)
				p = apply(p, domain.Plan.Evolve, events)
				continue
			}
			before := p
			wanted := plan(rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "title"))
			events, err := p.Publish(wanted, nil)
			same := p.Version > 0 && proto.Equal(p.Spec, wanted)
			if p.Retired && !same {
				require.Equal(t, problem.Conflict, problem.KindOf(err))
				continue
			}
			require.NoError(t, err)
			p = apply(p, domain.Plan.Evolve, events)
			if same {
				require.Equal(t, before.Version, p.Version)
			} else {
				require.Equal(t, before.Version+1, p.Version)
			}
			require.True(t, proto.Equal(wanted, p.Spec))
		}
	})
}
