package app

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/service"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// maxRetention is ten years.
const maxRetention = 3650

// Settings says how a tenant's calls are kept.
type Settings struct {
	RetentionDays int `json:"retentionDays" minimum:"1" maximum:"3650" description:"Days that a call is kept after its completion; 400 unless set."`
	// KeptDays may be longer: see LeastDays.
	KeptDays int `json:"keptDays" description:"What holds: never less than the longest billing period of the tenant's plans and 35 days."`
	// ClientAddresses says what becomes of client addresses when calls are landed.
	ClientAddresses string `json:"clientAddresses" enum:"full,truncated,none" description:"full, truncated (to /24 or /48) or none. Calls that are there stay as they are."`
	// WebhookSecret tells whether there is a secret for webhooks.
	WebhookSecret bool `json:"webhookSecret"`
}

func shownSettings(s store.Settings) Settings {
	return Settings{RetentionDays: s.RetentionDays, KeptDays: s.KeptDays(), ClientAddresses: s.ClientAddresses, WebhookSecret: len(s.WebhookSecret) > 0}
}

// Settings returns those of the acting tenant.
func (a *Analytics) Settings(ctx context.Context) (Settings, error) {
	who, err := actor(ctx)
	if err != nil {
		return Settings{}, err
	}
	var row store.Settings
	err = a.in(ctx, who.Tenant, func(tx pgx.Tx) error {
		row, err = store.SettingsOf(ctx, tx, who.Tenant)
		return err
	})
	return shownSettings(row), err
}

// PutSettings changes those of the acting tenant. Calls are landed as they say from the next landing on; the retention of calls
// that are there follows within RetainTick, or within a day of the change before.
func (a *Analytics) PutSettings(ctx context.Context, days int, addresses string) (Settings, error) {
	return service.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (Settings, error) {
		who, err := actor(ctx)
		if err != nil {
			return Settings{}, err
		}
		row, err := store.SettingsOf(ctx, tx, who.Tenant)
		if err != nil {
			return Settings{}, err
		}
		if err := checkSettings(days, addresses, row.LeastDays()); err != nil {
			return Settings{}, err
		}
		if row.RetentionDays == days && row.ClientAddresses == addresses {
			return shownSettings(row), nil
		}
		row.RetentionDays, row.ClientAddresses = days, addresses
		history, err := tx.Load(ctx, "settings", who.Tenant)
		if err != nil {
			return Settings{}, err
		}
		tx.Append("settings", who.Tenant, uint64(len(history)), &analyticsv1.SettingsChanged{RetentionDays: uint32(days), ClientAddresses: addresses})
		return shownSettings(row), store.PutSettings(ctx, tx, row)
	})
}

func checkSettings(days int, addresses string, least int) error {
	var fields problem.Fields
	switch {
	case days < 1 || days > maxRetention:
		fields.Add("retentionDays", "%d is not a number of days from 1 to %d", days, maxRetention)
	case days < least:
		fields.Add("retentionDays", "%d is too few: calls are kept for %d days after the end of their billing period, and the longest period of your plans makes that %d",
			days, store.InvoicingDays, least)
	}
	if !slices.Contains([]string{store.AddressesFull, store.AddressesTruncated, store.AddressesNone}, addresses) {
		fields.Add("clientAddresses", "%q is not full, truncated or none", addresses)
	}
	return fields.Err("settings-invalid", "The settings are not valid.")
}

// keep gives calls that are about to be landed the retention of their tenants, and takes from them what a tenant does not
// want to be kept.
func keep(ctx context.Context, tx pgx.Tx, calls []clickhouse.Call) error {
	var tenants []string
	for _, c := range calls {
		if !slices.Contains(tenants, c.GetTenant()) {
			tenants = append(tenants, c.GetTenant())
		}
	}
	settings, err := store.SettingsOfAll(ctx, tx, tenants)
	if err != nil {
		return err
	}
	for i := range calls {
		s := settings[calls[i].GetTenant()]
		calls[i].RetentionDays = uint16(s.KeptDays())
		calls[i].ClientAddress = anonymized(calls[i].GetClientAddress(), s.ClientAddresses)
	}
	return nil
}

// anonymized is a client address as it is kept. What is not an address is not kept unless all are.
func anonymized(address, how string) string {
	if how == store.AddressesFull || address == "" {
		return address
	}
	ip, err := netip.ParseAddr(address)
	if how != store.AddressesTruncated || err != nil {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	bits := 48
	if ip.Is4() {
		bits = 24
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.Masked().Addr().String()
}

const (
	// RetainTick is the time between two looks for retentions that were changed.
	RetainTick = time.Minute
	// retainAgain is the least time between two changes of one tenant's: each makes ClickHouse write parts of the table anew.
	retainAgain = 24 * time.Hour
)

// Retain changes the retention of calls that are there, where their tenants changed it, until ctx ends. Any number may run at once.
func (a *Analytics) Retain(ctx context.Context) error {
	return a.every(ctx, RetainTick, "the retention of calls cannot be changed; it is tried again", a.retain)
}

// retain changes the retention of all tenants whose calls have another one than they should, unless ClickHouse is still at it from
// before or a tenant's was changed within a day: then it is done later.
func (a *Analytics) retain(ctx context.Context) error {
	if busy, err := a.Table.Keeping(ctx); err != nil || busy {
		return err
	}
	for {
		var found bool
		err := a.all(ctx, func(tx pgx.Tx) error {
			var s store.Settings
			var err error
			if s, found, err = store.Unapplied(ctx, tx, a.now().Add(-retainAgain)); err != nil || !found {
				return err
			}
			if err := a.Table.Keep(ctx, s.Tenant, uint16(s.KeptDays())); err != nil {
				return err
			}
			return store.SetApplied(ctx, tx, s.Tenant, s.KeptDays(), a.now())
		})
		if err != nil || !found {
			return err
		}
	}
}
