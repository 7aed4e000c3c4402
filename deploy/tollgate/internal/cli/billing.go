package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
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
