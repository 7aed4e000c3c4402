package domain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// Causes for which an invoice is held.
const (
	NotSealed       = "not-sealed"
	OpenGap         = "open-gap"
	CountersDiffer  = "counters-differ"
	NegativeTotal   = "negative-total"
	NotRateable     = "not-rateable"
	PlanUnknown     = "plan-unknown"
	AccountUnknown  = "account-unknown"
	CurrencyDiffers = "currency-differs"
	// Failed is the cause of an error of the service's own.
	Failed = "failed"
)

// NothingToBill is why a period is skipped: no invoice is made of no lines.
const NothingToBill = "nothing-to-bill"

// Hold is why an invoice does not finalize.
type Hold struct {
	// Cause is a stable slug; Detail is for people.
	Cause, Detail string
}

// None says that nothing holds the invoice.
func (h Hold) None() bool { return h.Cause == "" }

// Closed says whether usage is complete: every gateway has sealed past the end and no call is missing.
func Closed(p Period, usage *meteringv1.UsageReply) Hold {
	switch {
	case !usage.GetSealed():
		return Hold{NotSealed, fmt.Sprintf("The period ended at %s. Not sealed past it: %s.", p.End.Format(time.RFC3339Nano), unsealed(usage))}
	case usage.GetOpenGaps() > 0:
		return Hold{OpenGap, fmt.Sprintf("%d gaps in the gateways' sequences are open in the period.", usage.GetOpenGaps())}
	}
	return Hold{}
}

func unsealed(usage *meteringv1.UsageReply) string {
	var all []string
	for _, gateway := range slices.Sorted(maps.Keys(usage.GetUnsealed())) {
		until := "never"
		if at := usage.GetUnsealed()[gateway]; at > 0 {
			until = "until " + time.Unix(0, at).UTC().Format(time.RFC3339Nano)
		}
		all = append(all, gateway+" ("+until+")")
	}
	for _, partition := range usage.GetBehind() {
		all = append(all, fmt.Sprintf("partition %d of the stream of calls (messages from before are being metered)", partition))
	}
	if len(all) == 0 {
		return "metering does not say which gateway"
	}
	return strings.Join(all, ", ")
}

// Prove compares what was metered and is billed with what landed, for the period as a whole and for each meter of each
// segment, and returns the evidence, or all the differences.
func Prove(whole *meteringv1.UsageReply, proof *analyticsv1.ProofReply, measured []Measured) (*billingv1.Evidence, Hold) {
	d := differences{}
	d.proof(whole, proof)
	var calls, digests uint64
	all := d.digest(whole.GetCounts().GetDigest())
	for _, m := range measured {
		d.segment(m)
		calls += total(m.Metered.GetCounts())
		digests += d.digest(m.Metered.GetCounts().GetDigest())
	}
	if calls != total(whole.GetCounts()) || digests != all {
		d.add("the parts of the period have %d metered calls (digest %s), the whole %d (%s)",
			calls, callset.Hex(digests), total(whole.GetCounts()), whole.GetCounts().GetDigest())
	}
	if len(d.all) > 0 {
		return nil, Hold{CountersDiffer, strings.Join(d.all, "; ")}
	}
	return &billingv1.Evidence{
		Answered: proof.GetAnswered(), Stored: proof.GetStored(), Landed: proof.GetLanded(), Metered: proof.GetMetered(),
		LandedDigest: proof.GetLandedDigest(), MeteredDigest: proof.GetMeteredDigest(), Watermark: whole.GetWatermark(),
	}, Hold{}
}

// differences collects what does not agree, in words.
type differences struct{ all []string }

func (d *differences) add(format string, args ...any) {
	d.all = append(d.all, fmt.Sprintf(format, args...))
}

func (d *differences) proof(whole *meteringv1.UsageReply, proof *analyticsv1.ProofReply) {
	if !proof.GetAgree() {
		d.add("answered %d, stored %d, landed %d, metered %d", proof.GetAnswered(), proof.GetStored(), proof.GetLanded(), proof.GetMetered())
		d.all = append(d.all, proof.GetDifferences()...)
	}
	if proof.GetLanded() != proof.GetMetered() || canonical(proof.GetLandedDigest()) != canonical(proof.GetMeteredDigest()) {
		d.add("landed %d calls (digest %s), metered %d (%s)",
			proof.GetLanded(), proof.GetLandedDigest(), proof.GetMetered(), proof.GetMeteredDigest())
	}
	if counts := whole.GetCounts(); total(counts) != proof.GetMetered() || canonical(counts.GetDigest()) != canonical(proof.GetMeteredDigest()) {
		d.add("usage has %d calls (digest %s), the proof %d (%s)", total(counts), counts.GetDigest(), proof.GetMetered(), proof.GetMeteredDigest())
	}
}

// segment compares each meter of a segment.
func (d *differences) segment(m Measured) {
	metered, landed := byMeter(m.Metered.GetMeters()), byMeter(m.Landed.GetMeters())
	names := map[string]bool{}
	for name := range metered {
		names[name] = true
	}
	for name := range landed {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := metered[name], landed[name]
		if a.calls != b.calls || a.digest != b.digest || a.quantity != b.quantity {
			d.add("meter %s from %s on: metered %s in %d calls (digest %s), landed %s in %d calls (digest %s)", name,
				m.Segment.Usage.Start.Format(time.RFC3339Nano), a.quantity, a.calls, a.digest, b.quantity, b.calls, b.digest)
		}
	}
}

// reading is a meter's total in a form in which equal ones are ==.
type reading struct {
	quantity, digest string
	calls            uint64
}

func byMeter(meters []*meteringv1.MeterUsage) map[string]reading {
	all := map[string]reading{}
	for _, m := range meters {
		quantity := m.GetQuantity()
		if parsed, err := money.Parse(quantity); err == nil {
			quantity = parsed.Trim().String()
		}
		if m.GetCalls() > 0 || quantity != "0" {
			all[m.GetMeter()] = reading{quantity: quantity, digest: canonical(m.GetDigest()), calls: m.GetCalls()}
		}
	}
	return all
}

// total returns the number of calls, billable and not.
func total(counts *meteringv1.CallCounts) uint64 {
	n := counts.GetBillable()
	for _, other := range counts.GetNotBillable() {
		n += other
	}
	return n
}

// canonical returns a digest in the form in which equal ones are ==: that of no calls may be left out.
func canonical(digest string) string {
	if digest == "" {
		return callset.Hex(0)
	}
	return strings.ToLower(digest)
}

// digest reads a digest; one that cannot be read is a difference.
func (d *differences) digest(text string) uint64 {
	value, err := strconv.ParseUint(canonical(text), 16, 64)
	if err != nil {
		d.add("%q is not a digest", text)
	}
	return value
}
