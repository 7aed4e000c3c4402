package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
)

type usageCommand struct {
	Subscription string   `arg:"" optional:"" help:"Only this subscription: name or id; of all by default."`
	By           string   `help:"hour, day, month or total." default:"day" enum:"hour,day,month,total"`
	Dimension    []string `help:"Divide by account, api, apiVersion, application, operation, plan, planVersion, reason or subscription. Can be repeated." placeholder:"NAME"`
	Meter        string   `help:"Only this meter." placeholder:"NAME"`
	TimeZone     string   `help:"Time zone of the slices, as in Europe/Berlin; that of the subscription, else UTC, by default." placeholder:"ZONE"`
	From         string   `help:"Start, as in 2026-11-01; the start of this month by default." placeholder:"TIME"`
	To           string   `help:"End (not included); now by default." placeholder:"TIME"`
	remote
}

// Run shows what was used.
func (u *usageCommand) Run(ctx context.Context, env *environment) error {
	now := time.Now().UTC()
	query := url.Values{
		"by": {u.By}, "limit": {"200"}, "dimension": u.Dimension,
		"from": {now.Format("2006-01") + "-01T00:00:00Z"}, "to": {now.Truncate(time.Hour).Add(time.Hour).Format(time.RFC3339)},
	}
	if err := (&span{From: u.From, To: u.To}).add(query); err != nil {
		return err
	}
	for name, value := range map[string]string{"subscription": u.Subscription, "meter": u.Meter, "timeZone": u.TimeZone} {
		if value != "" {
			query.Set(name, value)
		}
	}
	api, err := u.client()
	if err != nil {
		return err
	}
	var items []json.RawMessage
	for {
		var page operation.List[json.RawMessage]
		if err := api.Do(ctx, http.MethodGet, "/metering/v1/usage/query?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		items = append(items, page.Items...)
		if page.Next == "" {
			break
		}
		query.Set("cursor", page.Next)
	}
	columns := append([]string{"start"}, u.Dimension...)
	return printList(env.stdout, u.Output, items, append(columns, "meter", "billable", "quantity", "calls")...)
}

type quotasCommand struct {
	Subscription string `arg:"" help:"Name or id."`
	remote
}

// Run shows what is left of a subscription's quotas, and when they will be used up.
func (q *quotasCommand) Run(ctx context.Context, env *environment) error {
	api, err := q.client()
	if err != nil {
		return err
	}
	var page operation.List[json.RawMessage]
	if err := api.Do(ctx, http.MethodGet, "/metering/v1/quotas?subscription="+url.QueryEscape(q.Subscription), nil, &page); err != nil {
		return err
	}
	return printList(env.stdout, q.Output, page.Items, "meter", "per", "mode", "quota", "spent", "leased", "remaining", "windowEnd", "exhaustedAt")
}
