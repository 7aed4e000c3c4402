// Package callrecord owns the call record in the gateway: its fields and its encoding as calls.v1.CallRecord.
//
// The encoding is written by hand, field by field, so that a record costs no reflection and no allocation; tests compare
// it with the generated code. Only the gateway's own packages import it.
package callrecord

import (
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// Longest texts that a record keeps, in bytes. What a client chooses freely must not fill the journal.
const (
	maxPath      = 512
	maxHost      = 255
	maxUserAgent = 256
	maxText      = 128
	maxTraceID   = 64
	maxMethod    = 32
	// MaxQuantities is the number of meters that one record keeps.
	MaxQuantities = 8
	// MaxSpends is the number of leases that one call can spend from.
	MaxSpends = 8
)

// MaxSize bounds the encoding of any record, in bytes, with its identity. It relies on MaxID for what comes from
// configuration documents.
const MaxSize = 4608

// MaxQuantity is the longest decimal of a quantity, in bytes.
const MaxQuantity = 32

// MaxID is the longest id, name of a meter or of a lease that a record takes, in bytes: documents with longer ones are
// refused.
const MaxID = 64

// Quantity is an amount of one meter as the upstream reported it: a decimal without exponent.
type Quantity struct {
	Meter, Value string
}

// Spend is what the call consumed of a quota lease.
type Spend struct {
	Lease string
	Units int64
}

// Call is the record of one answered request. Its strings may point into buffers of the exchange: they are valid until the
// exchange ends. See calls.v1.CallRecord for the meaning and unit of each field. A Call belongs to one goroutine.
type Call struct {
	Seq                                        uint64
	StartedAt, CompletedAt                     int64
	Tenant, API, APIVersion, Operation         string
	Account, Application, Credential           string
	Subscription, Product, Plan                string
	PlanVersion                                uint32
	APIRevision, EntitlementRevision           uint64
	Method, Host, PathTemplate, Path           string
	Status                                     int
	Responder                                  callsv1.Responder
	ErrorReason                                string
	TotalMicros, UpstreamMicros, GatewayMicros uint64
	BytesIn, BytesOut                          uint64
	CacheStatus                                string
	Attempts                                   uint32
	Target                                     string
	ClientAddress                              string
	UserAgent                                  string
	TraceID                                    string
	UsageSource, EndReason                     string
	Billable                                   bool
	Reason                                     callsv1.Reason
	CallUnits                                  string

	quantities [MaxQuantities]Quantity
	quantityN  int
	spends     [MaxSpends]Spend
	spendN     int
}

// Reset makes the record empty.
func (c *Call) Reset() { *c = Call{} }

// AddQuantity notes an amount of a meter. It reports false when the record holds as many as it can.
func (c *Call) AddQuantity(q Quantity) bool {
	if c.quantityN == len(c.quantities) {
		return false
	}
	c.quantities[c.quantityN] = q
	c.quantityN++
	return true
}

// Quantities returns the amounts noted so far. The slice is valid until the next change.
func (c *Call) Quantities() []Quantity { return c.quantities[:c.quantityN] }

// AddSpend notes units of a lease. It reports false when the record holds as many as it can.
func (c *Call) AddSpend(s Spend) bool {
	if c.spendN == len(c.spends) {
		return false
	}
	c.spends[c.spendN] = s
	c.spendN++
	return true
}

// Spends returns what was noted so far. The slice is valid until the next change.
func (c *Call) Spends() []Spend { return c.spends[:c.spendN] }

// ClearSpends takes every spend back.
func (c *Call) ClearSpends() { c.spendN = 0 }

// Proto returns the record as the generated message, for tests and tools.
func (c *Call) Proto() *callsv1.CallRecord {
	m := &callsv1.CallRecord{
		Seq: c.Seq, StartedAt: c.StartedAt, CompletedAt: c.CompletedAt,
		Tenant: c.Tenant, Api: c.API, ApiVersion: c.APIVersion, Operation: clip(c.Operation, maxText),
		Account: c.Account, Application: c.Application, Credential: c.Credential,
		Subscription: c.Subscription, Product: c.Product, Plan: c.Plan, PlanVersion: c.PlanVersion,
		ApiRevision: c.APIRevision, EntitlementRevision: c.EntitlementRevision,
		Method: clip(c.Method, maxMethod), Host: clip(c.Host, maxHost), PathTemplate: clip(c.PathTemplate, maxPath), Path: clip(c.Path, maxPath),
		Status: uint32(c.Status), Responder: c.Responder, ErrorReason: c.ErrorReason,
		TotalMicros: c.TotalMicros, UpstreamMicros: c.UpstreamMicros, GatewayMicros: c.GatewayMicros,
		BytesIn: c.BytesIn, BytesOut: c.BytesOut, CacheStatus: c.CacheStatus, Attempts: c.Attempts,
		Target: clip(c.Target, maxText), ClientAddress: clip(c.ClientAddress, maxText), UserAgent: clip(c.UserAgent, maxUserAgent), TraceId: clip(c.TraceID, maxTraceID),
		UsageSource: c.UsageSource, EndReason: c.EndReason, Billable: c.Billable, Reason: c.Reason, CallUnits: c.CallUnits,
	}
	for _, q := range c.Quantities() {
		m.Quantities = append(m.Quantities, &callsv1.Quantity{Meter: q.Meter, Value: q.Value})
	}
	for _, s := range c.Spends() {
		m.LeaseSpends = append(m.LeaseSpends, &callsv1.LeaseSpend{Lease: s.Lease, Units: s.Units})
	}
	return m
}
