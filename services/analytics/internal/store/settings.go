package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// What becomes of client addresses when calls are landed.
const (
	AddressesFull      = "full"
	AddressesTruncated = "truncated" // to /24 (IPv4) or /48 (IPv6)
	AddressesNone      = "none"
)

// DefaultRetention is the days that calls are kept unless their tenant says otherwise: a year and InvoicingDays.
const DefaultRetention = 400

// InvoicingDays is how long calls are kept at least after the end of the billing period that they belong to.
const InvoicingDays = 35

// Settings is a row of settings.
type Settings struct {
	Tenant          string `db:"tenant_id"`
	RetentionDays   int    `db:"retention_days"`
	ClientAddresses string `db:"client_addresses"`
	WebhookSecret   []byte `db:"webhook_secret"`
	LongestPeriod   int    `db:"longest_period"`
	AppliedDays     int    `db:"applied_days"`
}

// LeastDays is the least retention: the longest billing period of the tenant's plans and the time for invoicing it.
func (s Settings) LeastDays() int {
	if s.LongestPeriod == 0 {
		return 1
	}
	return s.LongestPeriod + InvoicingDays
}

// KeptDays is how long calls are kept.
func (s Settings) KeptDays() int { return max(s.RetentionDays, s.LeastDays()) }

func defaultSettings(tenant string) Settings {
	return Settings{Tenant: tenant, RetentionDays: DefaultRetention, ClientAddresses: AddressesFull, AppliedDays: DefaultRetention}
}

const settingsColumns = `tenant_id, retention_days, client_addresses, webhook_secret, longest_period, applied_days`

// SettingsOf returns the settings of a tenant.
func SettingsOf(ctx context.Context, tx pgx.Tx, tenant string) (Settings, error) {
	rows, err := tx.Query(ctx, `SELECT `+settingsColumns+` FROM settings WHERE tenant_id = $1`, tenant)
	if err != nil {
		return Settings{}, wrap("read settings", err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Settings])
	if errors.Is(err, pgx.ErrNoRows) {
		return defaultSettings(tenant), nil
	}
	return s, wrap("read settings", err)
}

// SettingsOfAll returns the settings of tenants.
func SettingsOfAll(ctx context.Context, tx pgx.Tx, tenants []string) (map[string]Settings, error) {
	rows, err := collect[Settings](ctx, tx, "read settings", `SELECT `+settingsColumns+` FROM settings WHERE tenant_id = ANY ($1)`, tenants)
	all := make(map[string]Settings, len(tenants))
	for _, t := range tenants {
		all[t] = defaultSettings(t)
	}
	for _, s := range rows {
		all[s.Tenant] = s
	}
	return all, err
}

// PutSettings writes what a tenant may set.
func PutSettings(ctx context.Context, tx pgx.Tx, s Settings) error {
	return exec(ctx, tx, "write settings", `INSERT INTO settings (tenant_id, retention_days, client_addresses) VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id) DO UPDATE SET retention_days = excluded.retention_days, client_addresses = excluded.client_addresses`,
		s.Tenant, s.RetentionDays, s.ClientAddresses)
}

// PutWebhookSecret writes the sealed secret of a tenant.
func PutWebhookSecret(ctx context.Context, tx pgx.Tx, tenant string, sealed []byte) error {
	return exec(ctx, tx, "write webhook secret", `INSERT INTO settings (tenant_id, webhook_secret) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET webhook_secret = excluded.webhook_secret`, tenant, sealed)
}

// RaiseLongestPeriod notes the length of a billing period of a tenant's plan, in days.
func RaiseLongestPeriod(ctx context.Context, tx pgx.Tx, tenant string, days int) error {
	return exec(ctx, tx, "note billing period", `INSERT INTO settings (tenant_id, longest_period) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET longest_period = greatest(settings.longest_period, excluded.longest_period)`, tenant, days)
}

// Unapplied returns the settings of a tenant whose calls are kept otherwise than they say, and were not changed after a time; false
// when there is none. Nobody else gets it until the end of the transaction.
func Unapplied(ctx context.Context, tx pgx.Tx, changedBefore time.Time) (Settings, bool, error) {
	rows, err := collect[Settings](ctx, tx, "read settings", `SELECT `+settingsColumns+` FROM settings
		WHERE applied_days <> greatest(retention_days, CASE WHEN longest_period = 0 THEN 1 ELSE longest_period + $1::int END)
			AND (applied_at IS NULL OR applied_at <= $2)
		ORDER BY tenant_id LIMIT 1 FOR UPDATE SKIP LOCKED`, InvoicingDays, changedBefore)
	if err != nil || len(rows) == 0 {
		return Settings{}, false, err
	}
	return rows[0], true, nil
}

// SetApplied notes the retention of a tenant's calls.
func SetApplied(ctx context.Context, tx pgx.Tx, tenant string, days int, now time.Time) error {
	return exec(ctx, tx, "note retention", `UPDATE settings SET applied_days = $2, applied_at = $3 WHERE tenant_id = $1`, tenant, days, now)
}
