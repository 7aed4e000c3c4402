package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/limit"
)

// hardQuotas are n of them, each of a meter of its own.
func hardQuotas(n int) []*catalogv1.Limit {
	var limits []*catalogv1.Limit
	for i := range n {
		limits = append(limits, &catalogv1.Limit{Quota: 9, Per: "day", Meter: fmt.Sprint("meter-", i), Reserve: 1})
	}
	return limits
}

// TestWhatEndsASubscriptionAlwaysApplies ends one by documents whose limits no gateway could hold.
func TestWhatEndsASubscriptionAlwaysApplies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	for _, state := range []string{"suspended", "cancelled", "rejected", "requested"} {
		for name, change := range map[string]func(*gatewayv1.EntitlementDocument){
			"too many quotas":        func(d *gatewayv1.EntitlementDocument) { d.Limits = hardQuotas(20) },
			"an unknown limit":       func(d *gatewayv1.EntitlementDocument) { d.Limits = []*catalogv1.Limit{{Rate: 1, Per: "fortnight"}} },
			"an unknown charge rule": func(d *gatewayv1.EntitlementDocument) { d.Charging = &catalogv1.Charging{Billable: []string{"all"}} },
		} {
			d := w.entitlement()
			d.State = state
			change(d)
			value, err := proto.Marshal(d)
			require.NoError(t, err)
			news, err := g.store.Apply(bus.EntitlementsBucket, "app1.p1", value)
			require.NoError(t, err, "%s: %s", state, name)
			require.True(t, news)
			require.Equal(t, 403, g.get("/weather/v1/current/rome").status, "%s: %s", state, name)
		}
	}
	d := w.entitlement()
	d.Limits, d.Prepaid = hardQuotas(4), true
	value, err := proto.Marshal(d)
	require.NoError(t, err)
	_, err = g.store.Apply(bus.EntitlementsBucket, "app1.p1", value)
	require.NoError(t, err, "as many as a plan can have, and a prepaid balance")
	require.Equal(t, "quota-unavailable", g.get("/weather/v1/current/rome").problem(t).Code, "there is no metering here")
}

func TestRateLimitsOfEndedSubscriptionsAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	key := limit.RateKey{Subscription: "sub1", Quota: 7, Per: "hour"}
	apply := func(change func(*gatewayv1.EntitlementDocument)) *limit.Rate {
		t.Helper()
		d := w.entitlement()
		d.Limits = []*catalogv1.Limit{{Rate: key.Quota, Per: key.Per}}
		change(d)
		value, err := proto.Marshal(d)
		require.NoError(t, err)
		_, err = g.store.Apply(bus.EntitlementsBucket, "app1.p1", value)
		require.NoError(t, err)
		g.store.Sweep(time.Now().Add(time.Hour))
		held, err := g.rates.Rate(key)
		require.NoError(t, err)
		return held
	}
	held := apply(func(*gatewayv1.EntitlementDocument) {})
	require.Same(t, held, g.store.Entitlements("app1")[0].Rates[0])
	require.Same(t, held, apply(func(*gatewayv1.EntitlementDocument) {}))
	require.NotSame(t, held, apply(func(d *gatewayv1.EntitlementDocument) { d.State = "cancelled" }))
}
