package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// maxCompared is how many plans are compared at once.
const maxCompared = 50

// Usage is what a period's usage is supposed to be.
type Usage struct {
	Meters map[string]MeterUsage `json:"meters,omitempty" description:"By name of the meter; calls counts calls."`
	Events map[string][]string   `json:"events,omitempty" description:"Single amounts by name of the meter, for prices that go by events."`
}

// MeterUsage is a meter's usage.
type MeterUsage struct {
	Quantity string `json:"quantity" description:"A decimal."`
}

// PlanComparison sets plans of a product side by side. The values of a row are in the order of the plans.
type PlanComparison struct {
	Product  string         `json:"product"`
	Title    string         `json:"title"`
	Includes []Included     `json:"includes" description:"What one gets under each of the plans."`
	Plans    []ComparedPlan `json:"plans"`
	Limits   []LimitRow     `json:"limits"`
	Prices   []PriceRow     `json:"prices"`
}

// Included is an API version that the product includes.
type Included struct {
	APIVersion string `db:"name" json:"apiVersion"`
	API        string `db:"api" json:"api"`
	Stage      string `db:"stage" json:"stage"`
	Operations int    `db:"operations" json:"operations" description:"Number of operations."`
}

// ComparedPlan is a plan in its newest version.
type ComparedPlan struct {
	Name        string `json:"name"`
	Version     uint32 `json:"version"`
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	Currency    string `json:"currency"`
	Every       string `json:"every" description:"The billing period."`
	Approval    string `json:"approval"`
	Prepaid     bool   `json:"prepaid"`
	Minimum     string `json:"minimum,omitempty"`
	Maximum     string `json:"maximum,omitempty"`
	// Cost of the usage that was asked about, over a whole period.
	Cost *rating.Result `json:"cost,omitempty"`
	// Unrated says why there is no cost.
	Unrated string `json:"unrated,omitempty" description:"Why the usage has no cost under this plan."`
}

// The parts of plans, as they are shown.
type (
	Limit = resource.Spec[catalogv1.Limit, *catalogv1.Limit]
	Price = resource.Spec[catalogv1.Price, *catalogv1.Price]
)

// LimitRow is one limit under each plan; null where a plan does not have it.
type LimitRow struct {
	Kind   string   `json:"kind" enum:"rate,quota"`
	Meter  string   `json:"meter"`
	Per    string   `json:"per"`
	Values []*Limit `json:"values"`
}

// PriceRow has what a meter costs under each plan; an empty list where that is nothing.
type PriceRow struct {
	Meter  string    `json:"meter,omitempty" description:"Left out for amounts of the period."`
	Values [][]Price `json:"values"`
}

// ComparePlans sets plans of a product side by side: those of the names, or all that are not retired. usage is rated under each;
// nil for none.
func (c *Catalog) ComparePlans(ctx context.Context, product string, names []string, usage *Usage) (PlanComparison, error) {
	var parsed *rating.Usage
	if usage != nil {
		u, err := parseUsage(usage)
		if err != nil {
			return PlanComparison{}, err
		}
		parsed = &u
	}
	return read(ctx, c, func(tx pgx.Tx, tenant string) (PlanComparison, error) {
		row, err := store.FindProduct(ctx, tx, tenant, product)
		if err != nil {
			return PlanComparison{}, productNotFound(err, product)
		}
		plans, err := comparedPlans(ctx, tx, tenant, row, names)
		if err != nil {
			return PlanComparison{}, err
		}
		comparison := PlanComparison{Product: row.Name, Title: row.Spec.Message.GetTitle(), Plans: []ComparedPlan{}, Limits: []LimitRow{}, Prices: []PriceRow{}}
		if comparison.Includes, err = included(ctx, tx, row.ID); err != nil {
			return comparison, err
		}
		for i, p := range plans {
			column, err := columnOf(p, parsed)
			if err != nil {
				return comparison, err
			}
			comparison.Plans = append(comparison.Plans, column)
			comparison.add(i, len(plans), p.Spec.Message)
		}
		comparison.sort()
		return comparison, nil
	})
}

// parseUsage reads usage as the command "tollgate rate" does.
func parseUsage(usage *Usage) (rating.Usage, error) {
	raw, err := json.Marshal(usage)
	if err != nil {
		return rating.Usage{}, fmt.Errorf("encode usage: %w", err)
	}
	parsed, err := rating.ParseUsage(raw)
	return parsed, below("usage", err)
}

// below puts the fields of an error under a path.
func below(path string, err error) error {
	var known *problem.Error
	if !errors.As(err, &known) {
		return err
	}
	moved := *known
	moved.Fields = nil
	for _, f := range known.Fields {
		moved.Fields = append(moved.Fields, problem.Field{Path: path + "." + f.Path, Message: f.Message})
	}
	return &moved
}

func included(ctx context.Context, tx pgx.Tx, product string) ([]Included, error) {
	rows, err := store.Includes(ctx, tx, product)
	all := make([]Included, len(rows))
	for i, r := range rows {
		all[i] = Included(r)
	}
	return all, err
}

func comparedPlans(ctx context.Context, tx pgx.Tx, tenant string, product store.Product, names []string) ([]store.Plan, error) {
	if len(names) > maxCompared {
		return nil, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: "plans", Message: fmt.Sprintf("has %d plans; at most %d are compared", len(names), maxCompared)})
	}
	var plans []store.Plan
	for _, name := range names {
		p, err := store.FindPlan(ctx, tx, tenant, product.ID, name, 0)
		if err != nil {
			return nil, planNotFound(err, product.Name, name, 0)
		}
		plans = append(plans, p)
	}
	if len(names) > 0 {
		return plans, nil
	}
	err := plansOf(ctx, tx, tenant, product.ID, resource.Metadata{}, func(p store.Plan) error {
		if !p.Retired && len(plans) < maxCompared {
			plans = append(plans, p)
		}
		return nil
	})
	return plans, err
}

func columnOf(p store.Plan, usage *rating.Usage) (ComparedPlan, error) {
	spec := p.Spec.Message
	column := ComparedPlan{
		Name: p.Name, Version: p.Version, Title: spec.GetTitle(), Description: spec.GetDescription(), Currency: spec.GetCurrency(),
		Every: cmp.Or(spec.GetPeriod().GetEvery(), "month"), Approval: cmp.Or(spec.GetApproval(), "required"), Prepaid: spec.GetPrepaid(),
		Minimum: spec.GetMinimum(), Maximum: spec.GetMaximum(),
	}
	if usage == nil {
		return column, nil
	}
	compiled, err := rating.Compile(spec)
	if err != nil {
		return column, fmt.Errorf("compile plan %s: %w", p.Name, err)
	}
	cost, err := rating.Rate(compiled, *usage, rating.Context{})
	var known *problem.Error
	switch {
	case err == nil:
		column.Cost = &cost
	case errors.As(err, &known) && known.Kind == problem.Invalid: // as where a price goes by events and there are none
		column.Unrated = known.Error()
	default:
		return column, fmt.Errorf("rate plan %s: %w", p.Name, err)
	}
	return column, nil
}

// add puts what a plan has into its column.
func (c *PlanComparison) add(column, columns int, spec *catalogv1.PlanSpec) {
	for _, l := range spec.GetLimits() {
		row := LimitRow{Kind: "quota", Meter: cmp.Or(l.GetMeter(), "calls"), Per: l.GetPer()}
		if l.GetRate() > 0 {
			row.Kind = "rate"
		}
		i := slices.IndexFunc(c.Limits, func(r LimitRow) bool { return r.Kind == row.Kind && r.Meter == row.Meter && r.Per == row.Per })
		if i < 0 {
			i, row.Values = len(c.Limits), make([]*Limit, columns)
			c.Limits = append(c.Limits, row)
		}
		limit := resource.Of(l)
		c.Limits[i].Values[column] = &limit
	}
	for _, p := range spec.GetPrices() {
		i := slices.IndexFunc(c.Prices, func(r PriceRow) bool { return r.Meter == p.GetMeter() })
		if i < 0 {
			i = len(c.Prices)
			row := PriceRow{Meter: p.GetMeter(), Values: make([][]Price, columns)}
			for k := range row.Values {
				row.Values[k] = []Price{}
			}
			c.Prices = append(c.Prices, row)
		}
		c.Prices[i].Values[column] = append(c.Prices[i].Values[column], resource.Of(p))
	}
}

// sort puts rows in an order that does not depend on that of the plans.
func (c *PlanComparison) sort() {
	slices.SortFunc(c.Limits, func(a, b LimitRow) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Per, b.Per))
	})
	slices.SortFunc(c.Prices, func(a, b PriceRow) int { return cmp.Compare(a.Meter, b.Meter) })
}
