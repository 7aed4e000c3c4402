package cli

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/client"
	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/operation"
)

type auditCommand struct {
	Service      []string `help:"Only these of identity, catalog, subscription, metering, analytics and billing; all by default." placeholder:"NAME"`
	Actor        string   `help:"Only what this subject did, as in member:ID." placeholder:"SUBJECT"`
	Action       string   `help:"Only events of this type, as in AccountClosed." placeholder:"TYPE"`
	StreamType   string   `help:"Only changes of this kind of thing, as in api-version." placeholder:"KIND"`
	Stream       string   `help:"Only changes of the thing with this id." placeholder:"ID"`
	Since        string   `help:"Start, as in 2026-11-01 or 2026-11-01T00:00:00Z." placeholder:"TIME"`
	Until        string   `help:"End (not included); now by default." placeholder:"TIME"`
	Changes      bool     `help:"Show what was before and after."`
	Installation bool     `help:"What belongs to the installation, such as gateways, in place of the tenant's; for its operators."`
	Limit        int      `help:"Most entries to show, of all services together." default:"50"`
	Output       string   `help:"table, json or csv." default:"table" enum:"table,json,csv" short:"o"`
	server
}

// audited are the services that have an audit.
func audited() []string {
	return []string{"identity", "catalog", "subscription", "metering", "analytics", "billing"}
}

// auditPage is the most entries of one request.
const auditPage = 200

// auditEntry is an entry of a service's audit.
type auditEntry struct {
	Service string `json:"service"`
	audit.Entry
}

// Run shows the audits of services as one. A service that refuses is an error: an audit that is not whole must not look as if
// it were.
func (a *auditCommand) Run(ctx context.Context, env *environment) error {
	query, err := a.query()
	if err != nil {
		return err
	}
	services := a.Service
	if len(services) == 0 {
		services = audited()
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	entries := []auditEntry{}
	for _, service := range services {
		of, err := auditOf(ctx, api, service, query, a.Limit)
		if err != nil {
			return fmt.Errorf("the audit of %s: %w; name the services to ask with --service", service, err)
		}
		entries = append(entries, of...)
	}
	slices.SortStableFunc(entries, func(x, y auditEntry) int { return y.At.Compare(x.At) })
	return a.print(env.stdout, entries[:min(len(entries), a.Limit)])
}

func (a *auditCommand) query() (url.Values, error) {
	if a.Limit < 1 {
		return nil, fmt.Errorf("--limit: %d is not 1 or more", a.Limit)
	}
	for i, service := range a.Service {
		if !slices.Contains(audited(), service) {
			return nil, fmt.Errorf("--service: %q has no audit; want some of %s", service, strings.Join(audited(), ", "))
		}
		if slices.Contains(a.Service[:i], service) {
			return nil, fmt.Errorf("--service: %q is there twice", service)
		}
	}
	query := url.Values{}
	for name, value := range map[string]string{"actor": a.Actor, "action": a.Action, "streamType": a.StreamType, "stream": a.Stream} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, text := range map[string]string{"since": a.Since, "until": a.Until} {
		if text == "" {
			continue
		}
		at, err := instant("--"+name, text)
		if err != nil {
			return nil, err
		}
		query.Set(name, at)
	}
	for name, set := range map[string]bool{"changes": a.Changes, "installation": a.Installation} {
		if set {
			query.Set(name, "true")
		}
	}
	return query, nil
}

// auditOf returns the newest entries of a service, at most limit.
func auditOf(ctx context.Context, api *client.Client, service string, query url.Values, limit int) ([]auditEntry, error) {
	var entries []auditEntry
	query.Del("cursor")
	for {
		query.Set("limit", strconv.Itoa(min(auditPage, limit-len(entries))))
		var page operation.List[audit.Entry]
		if err := api.Do(ctx, http.MethodGet, "/"+service+"/v1/audit?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Items {
			entries = append(entries, auditEntry{service, e})
		}
		if page.Next == "" || len(entries) >= limit {
			return entries, nil
		}
		query.Set("cursor", page.Next)
	}
}

func (a *auditCommand) print(w io.Writer, entries []auditEntry) error {
	switch {
	case a.Output == "csv":
		return auditCSV(w, entries)
	case a.Output == "table" && a.Changes:
		return auditChanges(w, entries)
	}
	items := make([]json.RawMessage, len(entries))
	for i, e := range entries {
		encoded, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("show: %w", err)
		}
		items[i] = encoded
	}
	return printList(w, a.Output, items, "at", "service", "action", "streamId", "actor", "address", "reason")
}

// auditCSV writes what an export of a service has, with the service before it (RFC 4180).
func auditCSV(w io.Writer, entries []auditEntry) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	rows := [][]string{append([]string{"service"}, audit.Columns()...)}
	for _, e := range entries {
		rows = append(rows, append([]string{e.Service}, e.Row()...))
	}
	return out.WriteAll(rows)
}

// auditChanges shows each entry with the fields that it changed.
func auditChanges(w io.Writer, entries []auditEntry) error {
	for _, e := range entries {
		from := cmp.Or(e.Address, "-")
		fmt.Fprintf(w, "%s  %s  %s  %s  %s  %s  %s\n", e.At.Format(time.RFC3339), e.Service, e.Action, e.StreamID, e.Actor, from, e.Reason)
		if err := printChange(w, e.StreamType, e.Before, e.After); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		fmt.Fprintln(w, "none")
	}
	return nil
}
