package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// UsageQuery asks for usage by time and dimensions.
type UsageQuery struct {
	// Subscription, by name or id; empty for all, and for calls without one.
	Subscription string
	From, To     time.Time
	// By is hour, day, month or total.
	By string
	// TimeZone of days and months; empty for the subscription's, or UTC.
	TimeZone   string
	Dimensions []string
	// Application, Account, API, APIVersion, Operation and Plan are ids; empty for all.
	Application, Account, API, APIVersion, Operation, Plan, Meter string
	Cursor                                                        string
	Limit                                                         int
}

// UsageItem is the usage of a slice of time, of a meter, billable or not, and of one value of each dimension asked for. A
// dimension that was not asked for, and one that the calls do not have, is absent.
type UsageItem struct {
	Start        time.Time `json:"start"`
	Meter        string    `json:"meter"`
	Billable     bool      `json:"billable"`
	Subscription string    `json:"subscription,omitempty"`
	Application  string    `json:"application,omitempty"`
	Account      string    `json:"account,omitempty"`
	Plan         string    `json:"plan,omitempty"`
	PlanVersion  uint32    `json:"planVersion,omitempty"`
	API          string    `json:"api,omitempty"`
	APIVersion   string    `json:"apiVersion,omitempty"`
	Operation    string    `json:"operation,omitempty"`
	// Reason why the calls are not billable.
	Reason   string `json:"reason,omitempty"`
	Quantity string `json:"quantity"`
	Calls    uint64 `json:"calls"`
	// cursor of the item in its list.
	cursor string
}

// Cursor names the item in its list.
func (i UsageItem) Cursor() string { return i.cursor }

// Query returns a page of usage: exact sums of the ledger, or an error as of Usage.
func (m *Metering) Query(ctx context.Context, q UsageQuery) ([]UsageItem, error) {
	query, err := q.parse()
	if err != nil {
		return nil, err
	}
	return acting(ctx, m, func(tx pgx.Tx) ([]UsageItem, error) {
		if q.Subscription != "" {
			s, err := store.FindSubscription(ctx, tx, q.Subscription)
			if err != nil {
				return nil, subscriptionNotFound(err, q.Subscription)
			}
			query.Subscription = s.ID
			if q.TimeZone == "" {
				query.Zone = s.TimeZone
			}
		}
		if err := checkDivided(ctx, tx, query.Scope); err != nil {
			return nil, err
		}
		if query.By != "" {
			if err := checkSlices(ctx, tx, query); err != nil {
				return nil, err
			}
		}
		rows, err := store.FindUsage(ctx, tx, query)
		items := make([]UsageItem, len(rows))
		for i, r := range rows {
			items[i] = usageItem(r, query.Dimensions)
		}
		return items, err
	})
}

func checkSlices(ctx context.Context, tx pgx.Tx, q store.Query) error {
	crosses, err := store.CrossesSlices(ctx, tx, q)
	if err == nil && crosses {
		err = problem.NewInvalid("usage-not-divided", "The usage by %s of %s is not known.", q.By, q.Zone).With(problem.Field{
			Path: "timeZone", Message: "the hours of " + q.Zone + " divide buckets of usage, which are kept by the hours of UTC and of each subscription's own time zone; ask for UTC, or for one subscription in its time zone",
		})
	}
	return err
}

func (q UsageQuery) parse() (store.Query, error) {
	query := store.Query{
		Scope: store.Scope{Start: q.From.UnixNano(), End: q.To.UnixNano()}, By: q.By, Zone: q.TimeZone, Dimensions: q.Dimensions, Limit: q.Limit,
		Application: q.Application, Account: q.Account, API: q.API, APIVersion: q.APIVersion, Operation: q.Operation, Plan: q.Plan, Meter: q.Meter,
	}
	if query.By == "total" {
		query.By = ""
	}
	if query.Zone == "" {
		query.Zone = "UTC"
	}
	var fields problem.Fields
	if _, err := time.LoadLocation(query.Zone); err != nil || query.Zone == "Local" {
		fields.Add("timeZone", `%q is not the IANA name of a time zone, as in "Europe/Berlin"`, query.Zone)
	}
	for i, d := range q.Dimensions {
		switch {
		case !store.IsDimension(d):
			fields.Add("dimension", "%q is not a dimension; want some of account, api, apiVersion, application, operation, plan, planVersion, reason, subscription", d)
		case slices.Index(q.Dimensions, d) < i:
			fields.Add("dimension", "%q is there twice", d)
		}
	}
	if q.Cursor != "" {
		var valid bool
		if query.After, valid = parseUsageCursor(q.Cursor, 3+len(q.Dimensions)); !valid {
			fields.Add("cursor", "is not the next of a page before of the same query")
		}
	}
	return query, fields.Err("request-invalid", "The request is not valid.")
}

// usageCursor is a key as a cursor.
func usageCursor(key []string) string {
	raw, _ := json.Marshal(key) // cannot fail: it is a list of text
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parseUsageCursor returns the key in a cursor.
func parseUsageCursor(cursor string, parts int) (key []string, valid bool) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(raw, &key) != nil || len(key) != parts || parts < 3 || slices.ContainsFunc(key, func(part string) bool { return strings.ContainsRune(part, 0) }) {
		return nil, false
	}
	_, startErr := strconv.ParseInt(key[0], 10, 64)
	_, billableErr := strconv.ParseBool(key[2])
	return key, startErr == nil && billableErr == nil
}

func usageItem(r store.UsageRow, dimensions []string) UsageItem {
	item := UsageItem{
		Start: time.Unix(r.Start, 0).UTC(), Meter: r.Meter, Billable: r.Billable, Quantity: r.Quantity, Calls: uint64(r.Calls),
		cursor: usageCursor(r.Key),
	}
	into := map[string]*string{
		"subscription": &item.Subscription, "application": &item.Application, "account": &item.Account, "plan": &item.Plan,
		"api": &item.API, "apiVersion": &item.APIVersion, "operation": &item.Operation, "reason": &item.Reason,
	}
	for i, name := range dimensions {
		if name == "planVersion" {
			version, _ := strconv.ParseUint(r.Values[i], 10, 32) // a column of whole numbers
			item.PlanVersion = uint32(version)
			continue
		}
		*into[name] = r.Values[i]
	}
	return item
}
