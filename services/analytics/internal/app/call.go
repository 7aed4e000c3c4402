package app

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Named is something that a call refers to.
type Named struct {
	ID string `json:"id,omitempty"`
	// Name is empty when it is not known here.
	Name string `json:"name,omitempty"`
}

// Quantity is an amount of a meter.
type Quantity struct {
	Meter string `json:"meter"`
	Value string `json:"value"`
}

// Call is a call as it is shown.
type Call struct {
	// Call is its identity, which the client received as Tollgate-Call-Id.
	Call         string    `json:"call"`
	StartedAt    time.Time `json:"startedAt"`
	CompletedAt  time.Time `json:"completedAt"`
	API          Named     `json:"api"`
	APIVersion   Named     `json:"apiVersion"`
	Operation    string    `json:"operation,omitempty"`
	Account      Named     `json:"account"`
	Application  Named     `json:"application"`
	Credential   string    `json:"credential,omitempty"`
	Subscription Named     `json:"subscription"`
	Product      string    `json:"product,omitempty"`
	Plan         string    `json:"plan,omitempty"`
	PlanVersion  uint32    `json:"planVersion,omitempty"`
	// APIRevision and EntitlementRevision are those of the configuration that was applied.
	APIRevision         uint64 `json:"apiRevision,omitempty"`
	EntitlementRevision uint64 `json:"entitlementRevision,omitempty"`
	Method              string `json:"method"`
	Host                string `json:"host"`
	PathTemplate        string `json:"pathTemplate,omitempty"`
	Path                string `json:"path"`
	Status              uint16 `json:"status"`
	// Responder is who produced the status: upstream, gateway or cache.
	Responder      string `json:"responder"`
	ErrorReason    string `json:"errorReason,omitempty"`
	TotalMicros    uint64 `json:"totalMicros"`
	UpstreamMicros uint64 `json:"upstreamMicros"`
	GatewayMicros  uint64 `json:"gatewayMicros"`
	BytesIn        uint64 `json:"bytesIn"`
	BytesOut       uint64 `json:"bytesOut"`
	CacheStatus    string `json:"cacheStatus,omitempty"`
	Attempts       uint32 `json:"attempts"`
	Target         string `json:"target,omitempty"`
	ClientAddress  string `json:"clientAddress,omitempty"`
	UserAgent      string `json:"userAgent,omitempty"`
	TraceID        string `json:"traceId,omitempty"`
	// Quantities by meter, the meter "calls" first.
	Quantities  []Quantity `json:"quantities"`
	UsageSource string     `json:"usageSource,omitempty"`
	EndReason   string     `json:"endReason,omitempty"`
	Billable    bool       `json:"billable"`
	// Reason why the call is not billable.
	Reason string `json:"reason,omitempty"`
}

// Calls lists calls of the acting tenant, the newest first.
func (a *Analytics) Calls(ctx context.Context, q Query) ([]Call, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	f, err := a.filter(ctx, who.Tenant, q)
	if err != nil {
		return nil, err
	}
	rows, err := a.Table.Calls(ctx, who.Tenant, f)
	if err != nil {
		return nil, err
	}
	return a.show(ctx, who.Tenant, rows)
}

// Call returns one call of the acting tenant by its Tollgate-Call-Id.
func (a *Analytics) Call(ctx context.Context, text string) (Call, error) {
	who, err := actor(ctx)
	if err != nil {
		return Call{}, err
	}
	id, err := callset.Parse(text)
	if err != nil {
		return Call{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "call", Message: err.Error()})
	}
	row, found, err := a.Table.Find(ctx, who.Tenant, id)
	if err != nil {
		return Call{}, err
	}
	if !found {
		return Call{}, problem.NewNotFound("call-not-found", "There is no call %s. A call is found about a second after it was answered.", text)
	}
	calls, err := a.show(ctx, who.Tenant, []clickhouse.Row{row})
	if err != nil {
		return Call{}, err
	}
	return calls[0], nil
}

func findID(ctx context.Context, tx pgx.Tx, kind, nameOrID string) (string, error) {
	id, err := store.FindID(ctx, tx, kind, nameOrID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", problem.NewNotFound(kind+"-not-found", "There is no %s %s.", kind, nameOrID)
	}
	return id, err
}

// show adds names.
func (a *Analytics) show(ctx context.Context, tenant string, rows []clickhouse.Row) ([]Call, error) {
	ids := map[string]bool{}
	for _, r := range rows {
		for _, id := range []string{r.API, r.APIVersion, r.Account, r.Application, r.Subscription} {
			ids[id] = true
		}
	}
	list := make([]string, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	var names map[string]map[string]string
	err := a.in(ctx, tenant, func(tx pgx.Tx) (err error) {
		names, err = store.Names(ctx, tx, list)
		return err
	})
	if err != nil {
		return nil, err
	}
	named := func(kind, id string) Named { return Named{ID: id, Name: names[kind][id]} }
	calls := make([]Call, len(rows))
	for i, r := range rows {
		calls[i] = Call{
			Call:      callset.ID{Gateway: r.Gateway, Boot: r.Boot, Seq: r.Seq}.String(),
			StartedAt: r.StartedAt, CompletedAt: r.CompletedAt, API: named(store.API, r.API), APIVersion: named(store.APIVersion, r.APIVersion), Operation: r.Operation,
			Account: named(store.Account, r.Account), Application: named(store.Application, r.Application), Credential: r.Credential,
			Subscription: named(store.Subscription, r.Subscription), Product: r.Product, Plan: r.Plan, PlanVersion: r.PlanVersion,
			APIRevision: r.APIRevision, EntitlementRevision: r.Entitlement, Method: r.Method, Host: r.Host, PathTemplate: r.PathTemplate, Path: r.Path,
			Status: r.Status, Responder: r.Responder, ErrorReason: r.ErrorReason, TotalMicros: r.TotalMicros, UpstreamMicros: r.UpstreamMicros,
			GatewayMicros: r.GatewayMicros, BytesIn: r.BytesIn, BytesOut: r.BytesOut, CacheStatus: r.CacheStatus, Attempts: r.Attempts, Target: r.Target,
			ClientAddress: r.ClientAddress, UserAgent: r.UserAgent, TraceID: r.TraceID, UsageSource: r.UsageSource, EndReason: r.EndReason,
			Billable: r.Billable, Reason: r.Reason,
		}
		if calls[i].Quantities, err = quantities(r); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

func quantities(r clickhouse.Row) ([]Quantity, error) {
	units, err := trim(r.CallUnits)
	if err != nil {
		return nil, err
	}
	all := []Quantity{{Meter: callstream.MeterCalls, Value: units}}
	for i, meter := range r.Meters {
		value, err := trim(r.Quantities[i])
		if err != nil {
			return nil, err
		}
		all = append(all, Quantity{Meter: meter, Value: value})
	}
	return all, nil
}

// Cursor names a call's place in a list.
func (c Call) Cursor() string { return strconv.FormatInt(c.CompletedAt.UnixNano(), 10) + "." + c.Call }

func parseCursor(text string, fields *problem.Fields) *clickhouse.Cursor {
	if text == "" {
		return nil
	}
	at, rest, _ := strings.Cut(text, ".")
	completed, err := strconv.ParseInt(at, 10, 64)
	id, err2 := callset.Parse(rest)
	if err != nil || err2 != nil {
		fields.Add("cursor", "is not the next of a page before")
		return nil
	}
	return &clickhouse.Cursor{CompletedAt: completed, Gateway: id.Gateway, Boot: id.Boot, Seq: id.Seq}
}
