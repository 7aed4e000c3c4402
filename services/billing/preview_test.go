package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func TestPreviewAndReplayStoreNothing(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	dear := pro()
	dear.Prices[0].Amount = "99.00"
	f.plan("pro", 2, dear)
	f.plan("simple", 1, &catalogv1.PlanSpec{Currency: "USD", Prices: []*catalogv1.Price{{Name: "calls", Meter: "calls", Model: "unit", Unit: "2"}}})
	id := f.subscribe("s", "pro", day("2026-01-01T00:00:00Z"))
	f.calls(id, 5, day("2026-01-10T00:00:00Z"))
	f.calls(id, 4, time.Now().Add(-time.Second))

	var preview struct {
		Total, Currency string
		Lines           []line
		Billed          *struct{ Number, Total string }
	}
	f.client.Must("GET", "/billing/v1/subscriptions/s/preview", nil, &preview, "Tollgate-After", f.after)
	require.Equal(t, "49.00", preview.Lines[0].Amount)
	require.Contains(t, []string{"0", "4"}, preview.Lines[1].Quantity, "0 in the first second of a period")
	require.Empty(t, f.invoices(""))

	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	replay := func(body string) {
		t.Helper()
		preview.Billed = nil
		f.client.Must("POST", "/billing/v1/subscriptions/"+id+"/replay", body, &preview)
	}
	replay(`{"plan":"simple","at":"2026-01-20T00:00:00Z"}`)
	require.Equal(t, "10.00", preview.Total)
	require.Equal(t, "49.30", preview.Billed.Total)
	require.Equal(t, "INV-000001", preview.Billed.Number)
	replay(`{"plan":"pro","product":"weather","at":"2026-01-20T00:00:00Z"}`)
	require.Equal(t, "99.30", preview.Total, "the newest version")
	replay(`{"plan":"pro","version":1,"at":"2026-01-20T00:00:00Z"}`)
	require.Equal(t, preview.Billed.Total, preview.Total, "what was billed comes out again")
	replay(`{"plan":"simple","at":"2026-02-20T00:00:00Z"}`)
	require.Nil(t, preview.Billed)
	for body, want := range map[string]string{
		`{}`:                         "name a plan",
		`{"plan":"gone"}`:            "there is no plan",
		`{"plan":"pro","version":7}`: "no version 7",
		`{"plan":"pro","at":"9999-01-01T00:00:00Z"}`: "from 1970",
		`{"plan":"pro","at":"yesterday"}`:            "RFC 3339",
		`{"plan":"pro","at":"2025-01-01T00:00:00Z"}`: "has no billing period",
	} {
		a := f.client.Do("POST", "/billing/v1/subscriptions/s/replay", body)
		require.True(t, a.Status == 400 || a.Status == 409, a.Body)
		require.Contains(t, a.Body, want)
	}
	require.Equal(t, 404, f.client.Do("GET", "/billing/v1/subscriptions/ghost/preview", nil).Status)
	require.Len(t, f.invoices(""), 1)
}
