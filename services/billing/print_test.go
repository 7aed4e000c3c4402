package billing_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/ledongthuc/pdf"
	"github.com/stretchr/testify/require"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// texts reads a PDF with another library than the one that wrote it.
func texts(t *testing.T, body string) (pages int, text string) {
	t.Helper()
	r, err := pdf.NewReader(strings.NewReader(body), int64(len(body)))
	require.NoError(t, err)
	plain, err := r.GetPlainText()
	require.NoError(t, err)
	all, err := io.ReadAll(plain)
	require.NoError(t, err)
	return r.NumPage(), string(all)
}

func TestAnInvoiceIsPrinted(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	id := f.subscribe("globex-pro", "pro", day("2026-01-15T00:00:00Z"))
	f.calls(id, 8, day("2026-02-01T00:00:00Z"))
	require.Equal(t, 404, f.client.Do("GET", "/billing/v1/invoices/INV-000001/pdf", nil).Status)
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	got := f.client.Must("GET", "/billing/v1/invoices/INV-000001/pdf", nil, nil)
	require.Equal(t, "application/pdf", got.Header.Get("Content-Type"))
	require.Equal(t, `inline; filename="INV-000001.pdf"`, got.Header.Get("Content-Disposition"))
	pages, text := texts(t, got.Body)
	require.Equal(t, 1, pages)
	for _, want := range []string{
		"INV-000001", "Skyline Weather GmbH", "Globex", "globex-pro", "2026-01-15 to 2026-02-15", "base", "49.00", "calls", "0.45", "49.45 USD",
		"8 answered by the gateways, 8 stored, 8 landed, 8 metered", "page 1 of 1",
	} {
		require.Contains(t, text, want)
	}
	require.Equal(t, got.Body, f.client.Must("GET", "/billing/v1/invoices/INV-000001/pdf", nil, nil).Body, "byte by byte")
}

// TestWhatIsPrintedIsTheInvoice: it stays the same when the parties are renamed.
func TestWhatIsPrintedIsTheInvoice(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	f.subscribe("globex-pro", "pro", day("2026-01-15T00:00:00Z"))
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	printed := func(number string) string {
		return f.client.Must("GET", "/billing/v1/invoices/"+number+"/pdf", nil, nil, "Tollgate-After", f.after).Body
	}
	before := printed("INV-000001")
	f.emit("identity", "tenant", f.tenant, 1, &identityv1.TenantChanged{Tenant: f.tenant, Title: "Κεραυνός AE"})
	f.emit("identity", "account", account, 1, &identityv1.AccountChanged{Account: account, Title: "グローベックス株式会社", Country: "JP", Currency: "USD"})
	require.Equal(t, before, printed("INV-000001"), "byte by byte")
	require.Empty(t, f.rebuilt(f.log()))

	require.Equal(t, 1, f.bill("2026-03").Counts.Finalized)
	_, text := texts(t, printed("INV-000002"))
	for _, want := range []string{"Κεραυνός AE", "globex (its title is in a script that cannot be printed here)", "JP"} {
		require.Contains(t, text, want)
	}

	// Invoices from before the parties were kept are printed with those of now.
	require.NoError(t, f.database().InTenant(t.Context(), f.tenant, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `ALTER TABLE invoices DISABLE TRIGGER invoices_are_final; UPDATE invoices SET parties = NULL WHERE number = 1`)
		return err
	}))
	_, text = texts(t, printed("INV-000001"))
	require.Contains(t, text, "Κεραυνός AE")
}

func TestALongInvoiceIsPrinted(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	spec := &catalogv1.PlanSpec{Currency: "USD"}
	for i := range 60 {
		spec.Prices = append(spec.Prices, &catalogv1.Price{Name: fmt.Sprintf("price-%02d-with-a-long-name-of-all-that-it-does-not-fit", i), Model: "flat", Amount: "1.00"})
	}
	f.plan("long", 1, spec)
	f.subscribe("globex-long", "long", day("2026-01-15T00:00:00Z"))
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	pages, text := texts(t, f.client.Must("GET", "/billing/v1/invoices/INV-000001/pdf", nil, nil).Body)
	require.Equal(t, 3, pages)
	require.Contains(t, text, "price-00-with")
	require.Contains(t, text, "price-59-with")
	require.Contains(t, text, "60.00 USD")
	require.Contains(t, text, "page 3 of 3")
}
