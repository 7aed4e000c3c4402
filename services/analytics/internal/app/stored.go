package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/received"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// storedKey names a count of stored calls: of an hour, or of the part of one that begins then.
type storedKey struct {
	tenant, subscription string
	hour                 int64
}

func hourOf(completed int64) int64 { return completed - completed%int64(time.Hour) }

// divisions says where the hours of subscriptions are divided.
type divisions map[string][]store.Division

func (c *claim) loadDivisions(ctx context.Context, messages []callstream.Message) error {
	ids := map[string]bool{}
	from, to := int64(math.MaxInt64), int64(0)
	for _, m := range messages {
		for _, call := range m.Batch.GetCalls() {
			if call.GetSubscription() != "" {
				ids[call.GetSubscription()] = true
			}
			from, to = min(from, call.GetCompletedAt()), max(to, call.GetCompletedAt())
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := store.Divisions(ctx, c.tx, slices.Collect(maps.Keys(ids)), from, to)
	c.divisions = divisions{}
	for _, d := range rows {
		c.divisions[d.Subscription] = append(c.divisions[d.Subscription], d)
	}
	return err
}

// begin is where the count of a call begins: with its hour, or with the last instant before it at which that is divided.
func (d divisions) begin(subscription string, completed int64) int64 {
	begin := hourOf(completed)
	for _, division := range d[subscription] {
		at := division.At
		if division.Hourly {
			at = hourOf(completed) + at%int64(time.Hour)
		}
		if at <= completed {
			begin = max(begin, at)
		}
	}
	return begin
}

// count counts a new call by the hour of its completion, or the part of it.
func (c *claim) count(call clickhouse.Call, sequence uint64) {
	key := storedKey{call.GetTenant(), call.GetSubscription(), c.divisions.begin(call.GetSubscription(), call.GetCompletedAt())}
	s := c.stored[key]
	if s == nil {
		s = &store.Stored{
			Tenant: key.tenant, Subscription: key.subscription, Hour: key.hour, FirstCompleted: call.GetCompletedAt(), LastCompleted: call.GetCompletedAt(),
			FirstSequence: int64(sequence), LastSequence: int64(sequence),
		}
		c.stored[key] = s
	}
	s.Calls++
	s.Digest += int64(callset.Digest(call.Gateway, call.Boot, call.GetSeq()))
	s.FirstCompleted, s.LastCompleted = min(s.FirstCompleted, call.GetCompletedAt()), max(s.LastCompleted, call.GetCompletedAt())
	s.FirstSequence, s.LastSequence = min(s.FirstSequence, int64(sequence)), max(s.LastSequence, int64(sequence))
}

func (c *claim) storedRows() []store.Stored {
	rows := make([]store.Stored, 0, len(c.stored))
	for _, s := range c.stored {
		rows = append(rows, *s)
	}
	slices.SortFunc(rows, func(a, b store.Stored) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Hour, b.Hour))
	})
	return rows
}

// scope is what is counted.
type scope struct {
	// tenant may be principal.AllTenants.
	tenant string
	// subscription is empty for all, and for calls without one.
	subscription string
	clickhouse.Span
}

func (s scope) has(c *clickhouse.Call) bool {
	return (s.tenant == principal.AllTenants || c.GetTenant() == s.tenant) && (s.subscription == "" || c.GetSubscription() == s.subscription) &&
		s.Start <= c.GetCompletedAt() && c.GetCompletedAt() < s.End
}

// tally is a number of distinct calls with the digest over their identities.
type tally struct{ calls, digest uint64 }

// stored counts the distinct calls in the stream, from the counts that are kept as messages are read. Of an hour that an end of the
// span divides, where no count is divided as well, the messages that have its calls are read again.
func (a *Analytics) stored(ctx context.Context, s scope) (tally, error) {
	var sum tally
	var ends []store.Stored
	var partitions []store.Partition
	err := a.in(ctx, s.tenant, func(tx pgx.Tx) (err error) {
		if partitions, err = store.Partitions(ctx, tx); err != nil {
			return err
		}
		if sum.calls, sum.digest, err = store.FullHours(ctx, tx, s.subscription, s.Start, s.End); err != nil {
			return err
		}
		ends, err = store.EndHours(ctx, tx, s.subscription, s.Start, s.End)
		return err
	})
	if err != nil {
		return tally{}, err
	}
	within, again := divideHours(ends, s.Span)
	sum = sum.add(within)
	if len(again) == 0 {
		return sum, nil
	}
	recounted, err := a.recountAll(ctx, s, partitions, again)
	return sum.add(recounted), err
}

func (t tally) add(o tally) tally { return tally{t.calls + o.calls, t.digest + o.digest} }

// recount is an hour whose messages must be read again: those of a partition of which its calls came.
type recount struct {
	partition   int
	generation  int32
	hour        int64
	first, last int64
	wanted      map[storedKey]bool
}

// divideHours sums the counts that lie within a span, and returns what must be read again because a count lies across an end of it.
// That is the whole hour then: it may have been counted in one before it was known where it is to be divided, so that which of
// its counts a call is in cannot be told.
func divideHours(counts []store.Stored, span clickhouse.Span) (tally, []recount) {
	type key struct {
		storedKey
		partition  int
		generation int32
	}
	across := map[key]bool{}
	keyOf := func(c store.Stored) key {
		return key{storedKey{c.Tenant, c.Subscription, hourOf(c.Hour)}, c.Partition, c.Generation}
	}
	var inside []store.Stored
	for _, c := range counts {
		if c.LastCompleted < span.Start || c.FirstCompleted >= span.End {
			continue
		}
		inside = append(inside, c)
		if c.FirstCompleted < span.Start || c.LastCompleted >= span.End {
			across[keyOf(c)] = true
		}
	}
	var sum tally
	var all []recount
	for _, c := range inside {
		k := keyOf(c)
		if !across[k] {
			sum = sum.add(tally{uint64(c.Calls), uint64(c.Digest)})
			continue
		}
		i := slices.IndexFunc(all, func(r recount) bool {
			return r.partition == c.Partition && r.generation == c.Generation && r.hour == k.hour
		})
		if i < 0 {
			i = len(all)
			all = append(all, recount{c.Partition, c.Generation, k.hour, c.FirstSequence, c.LastSequence, map[storedKey]bool{}})
		}
		all[i].first, all[i].last = min(all[i].first, c.FirstSequence), max(all[i].last, c.LastSequence)
		all[i].wanted[k.storedKey] = true
	}
	return sum, all
}

const (
	// maxRecounts bounds the proofs of one process that read messages again at once, recountPatience how long one does.
	maxRecounts     = 2
	recountPatience = 15 * time.Second
)

// recountAll counts calls by reading their messages again, one hour of a partition after the other.
func (a *Analytics) recountAll(ctx context.Context, s scope, partitions []store.Partition, all []recount) (tally, error) {
	select {
	case a.recounts <- struct{}{}:
		defer func() { <-a.recounts }()
	case <-ctx.Done():
		return tally{}, recountError(ctx.Err())
	}
	reading, cancel := context.WithTimeout(ctx, recountPatience)
	defer cancel()
	var sum tally
	for _, r := range all {
		i := slices.IndexFunc(partitions, func(p store.Partition) bool { return p.Partition == r.partition })
		part, err := a.recount(reading, s, partitions[i], r)
		if err != nil && reading.Err() != nil && ctx.Err() == nil {
			return tally{}, problem.NewConflict("too-many-messages",
				"The span divides an hour of so many calls that its messages cannot be counted again within %s. Ask for full hours (UTC).", recountPatience).Wrap(err)
		}
		if err != nil {
			return tally{}, recountError(err)
		}
		sum = sum.add(part)
	}
	return sum, nil
}

// recount counts the calls of an hour that lie within the scope.
func (a *Analytics) recount(ctx context.Context, s scope, p store.Partition, r recount) (tally, error) {
	if r.generation != p.Generation || p.StreamCreated == nil {
		return tally{}, fmt.Errorf("they are of an earlier stream: %w", callstream.ErrLost)
	}
	var sum tally
	seen := map[bootKey]received.Set{}
	err := callstream.Each(ctx, a.Bus, p.Partition, uint64(r.first), uint64(r.last), *p.StreamCreated, func(m callstream.Message) error {
		if m.Refused != nil || len(m.Batch.GetCalls()) == 0 {
			return nil
		}
		key, all := bootKey{m.Batch.GetGateway(), m.Batch.GetBoot()}, callstream.Range(m.Batch)
		before := seen[key]
		var fresh []received.Range
		seen[key], fresh = before.Merge(all)
		for _, f := range fresh {
			for _, record := range m.Batch.GetCalls()[f.First-all.First : f.Last-all.First+1] {
				c := clickhouse.Call{Gateway: key.gateway, Boot: key.boot, CallRecord: record}
				if s.has(&c) && r.wanted[storedKey{c.GetTenant(), c.GetSubscription(), hourOf(c.GetCompletedAt())}] {
					sum = sum.add(tally{1, callset.Digest(key.gateway, key.boot, record.GetSeq())})
				}
			}
		}
		return nil
	})
	return sum, err
}

// recountError tells a caller why calls cannot be counted again.
func recountError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, callstream.ErrLost):
		return problem.NewConflict("messages-lost", "The span divides an hour of calls whose messages the stream %s no longer holds, so that they cannot be counted on either side. Ask for full hours (UTC).",
			bus.CallsStream).Wrap(err)
	}
	return problem.NewUnavailable("stream-unavailable", "The stream %s cannot be read. Try again later.", bus.CallsStream).Wrap(err)
}
