package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// HeaderNext names the cursor of the following part of an export; it is there while there is more.
const HeaderNext = "Tollgate-Next"

// maxExport is the most events of one part of an export.
const maxExport = 1000

type filters struct {
	Actor      string `query:"actor" description:"Subject of who acted, as in member:ID."`
	StreamType string `query:"streamType" description:"Kind of what was changed, for example account."`
	Stream     string `query:"stream" description:"Id of what was changed."`
	Action     string `query:"action" description:"Type of the event, for example AccountClosed."`
	Since      string `query:"since" format:"date-time" description:"The first time, included."`
	Until      string `query:"until" format:"date-time" description:"The last time, not included."`
	Changes    bool   `query:"changes" description:"true: with what was before and after."`
	// Installation asks for what belongs to no tenant.
	Installation bool `query:"installation" description:"true: of what belongs to the installation, such as gateways; for its operators."`
}

func (f filters) filter() (Filter, error) {
	var fields problem.Fields
	out := Filter{
		Actor: f.Actor, StreamType: f.StreamType, StreamID: f.Stream, Action: f.Action, Changes: f.Changes,
		Since: parseTime("since", f.Since, &fields), Until: parseTime("until", f.Until, &fields),
	}
	if !out.Since.IsZero() && !out.Until.IsZero() && !out.Since.Before(out.Until) {
		fields.Add("until", "is not after since")
	}
	return out, fields.Err("request-invalid", "The request is not valid.")
}

func parseTime(path, text string, fields *problem.Fields) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		fields.Add(path, `is not a time as in "2027-01-31T00:00:00Z" (RFC 3339)`)
	}
	return t
}

func parseCursor(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	position, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "cursor", Message: "is not the next of a page before"})
	}
	return position, nil
}

type listRequest struct {
	operation.Page
	filters
}

type exportRequest struct {
	filters
	Format string `query:"format" enum:"ndjson,csv" default:"ndjson" description:"ndjson: one JSON object a line; csv (RFC 4180)."`
	Cursor string `query:"cursor" description:"The header Tollgate-Next of the part before; also for what has come since the last part."`
}

type entryPath struct {
	Position uint64 `path:"position"`
}

// ScopeOrigins is the scope that shows from where changes came, which is personal data, besides who made them.
const ScopeOrigins = "identity.admin"

// Register adds the operations of the audit to a service's table, for callers with the scope. noun goes into the operations'
// names, for example "Identity"; states shows before and after, by type of stream. Addresses are shown to those with
// ScopeOrigins alone.
func Register(a *operation.API, db *postgres.DB, noun, scope string, states map[string]State) {
	q := &auditor{db, states}
	operation.Register(a, operation.Op[listRequest, operation.List[Entry]]{
		Name: "List" + noun + "Audit", Method: http.MethodGet, Path: "/audit", Scope: scope,
		Summary: "Who did what, when and from where, the newest first.", Handle: q.list,
	})
	operation.Register(a, operation.Op[entryPath, Entry]{
		Name: "Get" + noun + "AuditEntry", Method: http.MethodGet, Path: "/audit/{position}", Scope: scope,
		Summary: "One entry of the audit, with what was before and after.", Handle: q.get,
	})
	operation.Register(a, operation.Op[exportRequest, operation.Raw]{
		Name: "Export" + noun + "Audit", Method: http.MethodGet, Path: "/audit/export", Scope: scope,
		Summary: "The audit as a file in parts, the oldest first; the header Tollgate-Next is the cursor of the next part.", Handle: q.export,
	})
}

type auditor struct {
	db     *postgres.DB
	states map[string]State
}

// query returns a page of the acting tenant's entries, or of the installation's.
func (q *auditor) query(ctx context.Context, f Filter, installation bool) (entries []Entry, more bool, err error) {
	p, _ := principal.From(ctx)
	tenant := p.Tenant
	if installation {
		if !p.Operator {
			return nil, false, problem.NewDenied("operator-only", "The audit of the installation is for its operators.")
		}
		tenant = principal.AllTenants
	}
	err = q.db.InTenant(ctx, tenant, func(tx pgx.Tx) (err error) {
		entries, more, err = query(ctx, tx, tenant, f, q.states)
		return err
	})
	if !p.May(ScopeOrigins) {
		for i := range entries {
			entries[i].Address, entries[i].UserAgent = "", ""
		}
	}
	return entries, more, err
}

func (q *auditor) list(ctx context.Context, r *listRequest) (operation.List[Entry], error) {
	list := operation.List[Entry]{Items: []Entry{}}
	f, err := r.filter()
	if err != nil {
		return list, err
	}
	if f.Below, err = parseCursor(r.Cursor); err != nil {
		return list, err
	}
	f.Limit = r.Size()
	entries, more, err := q.query(ctx, f, r.Installation)
	if len(entries) > 0 {
		list.Items = entries
	}
	if more {
		list.Next = strconv.FormatUint(entries[len(entries)-1].Position, 10)
	}
	return list, err
}

func (q *auditor) get(ctx context.Context, r *entryPath) (Entry, error) {
	unknown := problem.NewNotFound("audit-entry-not-found", "There is no entry at position %d.", r.Position)
	if r.Position == 0 || r.Position > 1<<62 {
		return Entry{}, unknown
	}
	only := Filter{Above: r.Position - 1, Below: r.Position + 1, Changes: true, Limit: 1}
	entries, _, err := q.query(ctx, only, false)
	if p, _ := principal.From(ctx); p.Operator && err == nil && len(entries) == 0 {
		entries, _, err = q.query(ctx, only, true)
	}
	if err != nil {
		return Entry{}, err
	}
	if len(entries) == 0 {
		return Entry{}, unknown
	}
	return entries[0], nil
}

func (q *auditor) export(ctx context.Context, r *exportRequest) (operation.Raw, error) {
	f, err := r.filter()
	if err != nil {
		return operation.Raw{}, err
	}
	if f.Above, err = parseCursor(r.Cursor); err != nil {
		return operation.Raw{}, err
	}
	encode, media := ndjson, "application/x-ndjson"
	switch r.Format {
	case "", "ndjson":
	case "csv":
		encode, media = commaSeparated, "text/csv; charset=utf-8; header=present"
	default:
		return operation.Raw{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: "format", Message: fmt.Sprintf("%q is not ndjson or csv", r.Format)})
	}
	f.Ascending, f.Limit = true, maxExport
	if f.Changes {
		f.Limit = maxExport / 10
	}
	entries, more, err := q.query(ctx, f, r.Installation)
	if err != nil {
		return operation.Raw{}, err
	}
	body, err := encode(entries)
	answer := operation.Raw{ContentType: media, Body: body, Header: http.Header{}}
	if more {
		answer.Header.Set(HeaderNext, strconv.FormatUint(entries[len(entries)-1].Position, 10))
	}
	return answer, err
}

func ndjson(entries []Entry) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, e := range entries {
		if err := encoder.Encode(e); err != nil {
			return nil, fmt.Errorf("export audit: %w", err)
		}
	}
	return out.Bytes(), nil
}

// Columns returns the names of the columns of CSV.
func Columns() []string {
	return []string{
		"position", "at", "actor", "action", "streamType", "streamId", "version", "reason", "correlation", "address", "userAgent",
		"data", "before", "after",
	}
}

// Row returns the entry as a row of CSV. No cell is taken for a formula by a spreadsheet.
func (e Entry) Row() []string {
	return []string{
		strconv.FormatUint(e.Position, 10), e.At.Format(time.RFC3339Nano), cell(e.Actor), e.Action, e.StreamType, cell(e.StreamID),
		strconv.FormatUint(e.Version, 10), cell(e.Reason), cell(e.Correlation), cell(e.Address), cell(e.UserAgent),
		string(e.Data), string(e.Before), string(e.After),
	}
}

func commaSeparated(entries []Entry) ([]byte, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	w.UseCRLF = true
	rows := [][]string{Columns()}
	for _, e := range entries {
		rows = append(rows, e.Row())
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("export audit: %w", err)
	}
	return out.Bytes(), nil
}

// cell keeps a text that somebody gave from being run as a formula by a spreadsheet.
func cell(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r") {
		return "'" + text
	}
	return text
}
