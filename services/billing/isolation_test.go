package billing_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	id := f.subscribe("globex-pro", "pro", january)
	f.calls(id, 3, january)
	run := f.bill("2026-02")
	i := f.invoice("INV-000001")
	before := f.client.Must("GET", "/billing/v1/invoices/INV-000001", nil, nil).Body
	stranger := f.TokenFor(everyScope("22222222-0000-7000-8000-000000000000"))
	tried := f.Attack(f.service.API(), stranger,
		map[string][]string{"invoice": {"INV-000001", i.ID}, "line": {"1", "2"}, "run": {run.ID}, "subscription": {"globex-pro", id}, "position": {"1", "2"}},
		map[string]any{
			"StartBillingRun": `{"period":"2026-02","subscription":"globex-pro"}`, "ReplayPeriod": `{"plan":"pro","at":"2026-01-20T00:00:00Z"}`,
		},
		map[string]string{"ListInvoices": "?account=globex"},
		map[string]bool{"ListInvoices": true, "ListPeriods": true, "ListBillingRuns": true, "ListBillingAudit": true, "ExportBillingAudit": true},
		[]string{i.ID, id, run.ID, account, "globex", "INV-000001"})
	require.Greater(t, tried, 9)
	other := f.Client(stranger)
	var theirs runAnswer
	other.Must("POST", "/billing/v1/runs", `{"period":"2026-03"}`, &theirs)
	require.Zero(t, theirs.Counts.Pending, "a stranger's run has none of the victim's periods")
	require.Equal(t, before, f.client.Must("GET", "/billing/v1/invoices/INV-000001", nil, nil).Body)
	require.Len(t, f.invoices(""), 1)

	// Numbers count within a tenant: the stranger's first invoice is their number 1.
	victim := f.tenant
	f.tenant, f.client = "22222222-0000-7000-8000-000000000000", other
	f.foreign()
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	require.Equal(t, "INV-000001", f.invoices("")[0].Number)
	require.NotEqual(t, i.ID, f.invoices("")[0].ID)
	require.NotEqual(t, victim, f.tenant)
}
