package config

import (
	"errors"
	"fmt"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/charge"
	"github.com/tollgate/tollgate/services/gateway/internal/limit"
)

// Entitlement is an application's compiled right to a product. It never changes; the limits it points to do.
type Entitlement struct {
	Revision                     uint64
	Tenant, Account, Application string
	Product, Subscription        string
	State                        string
	Plan                         string
	PlanVersion                  uint32
	Rates                        []*limit.Rate
	Quotas                       []Quota
	Charging                     *charge.Rule
	Free                         bool

	sum uint64
}

// Quota is a hard quota or a prepaid balance of an entitlement.
type Quota struct {
	*limit.Quota
	// Units are set aside for each call. For the meter calls that is what it costs; of a reported meter it is the most.
	Units int64
	// Name in the RateLimit fields.
	Name string
}

// MaxRates and MaxQuotas are the numbers of rate limits, and of hard quotas with the prepaid balance, that an entitlement can have:
// what libs/rating allows a plan.
const (
	MaxRates  = 3
	MaxQuotas = 4 + 1
)

// Calls is the meter that counts calls.
const Calls = "calls"

// Active says whether calls may pass.
func (e *Entitlement) Active() bool { return e.State == "active" }

// compileEntitlement compiles a document. Limits that are as before go on with their state.
func compileEntitlement(d *gatewayv1.EntitlementDocument, rates *limit.Rates, quotas *limit.Quotas) (*Entitlement, error) {
	e := &Entitlement{
		Revision: d.GetRevision(), Tenant: d.GetTenant(), Account: d.GetAccount(), Application: d.GetApplication(), Product: d.GetProduct(),
		Subscription: d.GetSubscription(), State: d.GetState(), Plan: d.GetPlan(), PlanVersion: d.GetPlanVersion(), Free: d.GetFree(),
	}
	errs := []error{checkIDs(map[string]string{
		"tenant": e.Tenant, "account": e.Account, "application": e.Application, "product": e.Product, "subscription": e.Subscription, "plan": e.Plan,
	})}
	switch e.State {
	case "active", "suspended", "cancelled", "requested", "rejected":
	default:
		errs = append(errs, fmt.Errorf("state: %q is not active, suspended, cancelled, requested or rejected", e.State))
	}
	if e.Active() {
		errs = append(errs, e.compileTerms(d, rates, quotas))
	} else {
		// What ends a subscription always applies: nothing else that the document says is of use.
		e.Charging = charge.Default()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, q := range e.Quotas {
		q.Forget() // the quota may have been raised
	}
	return e, nil
}

// compileTerms notes what calls are let through by, and charged by.
func (e *Entitlement) compileTerms(d *gatewayv1.EntitlementDocument, rates *limit.Rates, quotas *limit.Quotas) error {
	var errs []error
	var err error
	if e.Charging, err = charge.NewRule(d.GetCharging().GetBillable()); err != nil {
		errs = append(errs, err)
	}
	for i, l := range d.GetLimits() {
		switch {
		case l.GetRate() > 0 && l.GetQuota() == 0:
			rate, err := rates.Rate(limit.RateKey{Subscription: e.Subscription, Quota: l.GetRate(), Burst: l.GetBurst(), Per: l.GetPer()})
			if err != nil {
				errs = append(errs, fmt.Errorf("limits[%d].%w", i, err))
				continue
			}
			e.Rates = append(e.Rates, rate)
		case l.GetQuota() > 0 && l.GetRate() == 0:
			if err := e.addQuota(l.GetMeter(), l.GetPer(), l.GetMode(), int64(l.GetReserve()), quotas); err != nil {
				errs = append(errs, fmt.Errorf("limits[%d].%w", i, err))
			}
		default:
			errs = append(errs, fmt.Errorf("limits[%d]: is neither a rate nor a quota", i))
		}
	}
	if d.GetPrepaid() {
		errs = append(errs, e.addQuota(Calls, limit.Wallet, "hard", 0, quotas))
	}
	if len(e.Rates) > MaxRates || len(e.Quotas) > MaxQuotas {
		errs = append(errs, fmt.Errorf("limits: more than %d rates, or %d hard quotas with the prepaid balance", MaxRates, MaxQuotas))
	}
	return errors.Join(errs...)
}

func (e *Entitlement) addQuota(meter, per, mode string, reserve int64, quotas *limit.Quotas) error {
	switch mode {
	case "soft":
		return nil // counted by metering, never refused
	case "", "hard":
	default:
		return fmt.Errorf("mode: %q is not hard or soft", mode)
	}
	switch per {
	case "hour", "day", "week", "month", "year", limit.Wallet:
	default:
		return fmt.Errorf("per: %q is not hour, day, week, month or year", per)
	}
	if meter == "" {
		meter = Calls
	}
	q := Quota{Quota: quotas.Quota(limit.Key{Subscription: e.Subscription, Meter: meter, Per: per}), Units: 1, Name: meter + "-" + per}
	if meter != Calls {
		q.Units = max(1, reserve)
	}
	e.Quotas = append(e.Quotas, q)
	return nil
}
