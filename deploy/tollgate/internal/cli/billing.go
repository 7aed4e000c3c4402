package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
)

type billCommand struct {
	Run billRunCommand `cmd:"" help:"Make the invoices of every billing period that ended in a month."`
}

type billRunCommand struct {
	Period       string `required:"" help:"Calendar month in which the billing periods ended, as in 2026-11." placeholder:"YYYY-MM"`
	Subscription string `help:"Only this subscription (name or id)." placeholder:"NAME"`
	remote
}

// billingRun is what the command shows of a run.
type billingRun struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

// Run starts a billing run and follows it to its end.
func (b *billRunCommand) Run(ctx context.Context, env *environment) error {
	api, err := b.client()
	if err != nil {
		return err
	}
	request := map[string]string{"period": b.Period}
	if b.Subscription != "" {
		request["subscription"] = b.Subscription
	}
	var raw json.RawMessage
	if err := api.Do(ctx, http.MethodPost, "/billing/v1/runs", request, &raw); err != nil {
		return err
	}
	for {
		var run billingRun
		if err := json.Unmarshal(raw, &run); err != nil {
			return fmt.Errorf("read the run: %w", err)
		}
		if run.State != "running" {
			return printOne(env.stdout, b.Output, raw)
		}
		if b.Output == "table" {
			fmt.Fprintf(env.stderr, "billing run %s: %s\n", run.ID, run.State)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		if err := api.Do(ctx, http.MethodGet, "/billing/v1/runs/"+run.ID, nil, &raw); err != nil {
			return err
		}
	}
}

type invoicesCommand struct {
	List    invoicesListCommand    `cmd:"" help:"Invoices that were made."`
	Get     invoicesGetCommand     `cmd:"" help:"One invoice, with its lines and evidence."`
	Preview invoicesPreviewCommand `cmd:"" help:"What a subscription's open period comes to so far."`
}

type invoicesListCommand struct{ remote }

// Run lists invoices.
func (i *invoicesListCommand) Run(ctx context.Context, env *environment) error {
	return (&getCommand{Kind: "invoices", remote: i.remote}).Run(ctx, env)
}

type invoicesGetCommand struct {
	Invoice string `arg:"" help:"Number or id."`
	remote
}

// Run shows an invoice.
func (i *invoicesGetCommand) Run(ctx context.Context, env *environment) error {
	return (&getCommand{Kind: "invoices", Name: i.Invoice, remote: i.remote}).Run(ctx, env)
}

type invoicesPreviewCommand struct {
	Subscription string `arg:"" help:"Name or id."`
	remote
}

// Run shows a preview.
func (i *invoicesPreviewCommand) Run(ctx context.Context, env *environment) error {
	api, err := i.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.Do(ctx, http.MethodGet, "/billing/v1/subscriptions/"+url.PathEscape(i.Subscription)+"/preview", nil, &raw); err != nil {
		return err
	}
	return printOne(env.stdout, i.Output, raw)
}

type reconcileCommand struct {
	From string `required:"" help:"Start, as in 2026-11-01 or 2026-11-01T00:00:00Z." placeholder:"TIME"`
	To   string `required:"" help:"End (not included)." placeholder:"TIME"`
	remote
}

// Run compares the four counters.
func (r *reconcileCommand) Run(ctx context.Context, env *environment) error {
	from, err := instant("--from", r.From)
	if err != nil {
		return err
	}
	to, err := instant("--to", r.To)
	if err != nil {
		return err
	}
	api, err := r.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	query := url.Values{"from": {from}, "to": {to}}.Encode()
	if err := api.Do(ctx, http.MethodGet, "/analytics/v1/reconciliation?"+query, nil, &raw); err != nil {
		return err
	}
	if err := printOne(env.stdout, r.Output, raw); err != nil {
		return err
	}
	var outcome struct {
		Agree bool `json:"agree"`
	}
	if err := json.Unmarshal(raw, &outcome); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	if !outcome.Agree {
		return errDifferent
	}
	return nil
}

// instant reads a day (its start in UTC) or an RFC 3339 time.
func instant(flag, text string) (string, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.Format(time.RFC3339Nano), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return "", fmt.Errorf("%s: %q is not a time; want a day as in 2026-11-01, or 2026-11-01T00:00:00Z", flag, text)
	}
	return t.UTC().Format(time.RFC3339Nano), nil
}

type callsCommand struct {
	Get  callsGetCommand  `cmd:"" help:"One call by its Tollgate-Call-Id."`
	List callsListCommand `cmd:"" help:"The latest calls."`
}

type callsGetCommand struct {
	Call string `arg:"" help:"The Tollgate-Call-Id of the answer, as in gw1.17.123456."`
	remote
}

// Run shows one call.
func (c *callsGetCommand) Run(ctx context.Context, env *environment) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.Do(ctx, http.MethodGet, "/analytics/v1/calls/"+url.PathEscape(c.Call), nil, &raw); err != nil {
		return err
	}
	return printOne(env.stdout, c.Output, raw)
}

type callsListCommand struct {
	Subscription string `help:"Only this subscription." placeholder:"NAME"`
	Status       string `help:"Only this status (404) or class (4xx)." placeholder:"STATUS"`
	Limit        int    `help:"Most calls to show." default:"20"`
	remote
}

// Run lists calls, the latest first.
func (c *callsListCommand) Run(ctx context.Context, env *environment) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {fmt.Sprint(c.Limit)}}
	if c.Subscription != "" {
		query.Set("subscription", c.Subscription)
	}
	if c.Status != "" {
		query.Set("status", c.Status)
	}
	var page operation.List[json.RawMessage]
	if err := api.Do(ctx, http.MethodGet, "/analytics/v1/calls?"+query.Encode(), nil, &page); err != nil {
		return err
	}
	return printList(env.stdout, c.Output, page.Items, "call", "completedAt", "method", "path", "status", "billable", "reason")
}
