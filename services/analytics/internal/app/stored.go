package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// storedKey names a count of stored calls.
type storedKey struct {
	tenant, subscription string
	hour                 int64
}

func hourOf(completed int64) int64 { return completed - completed%int64(time.Hour) }

// count counts a new call by the hour of its completion.
func (c *claim) count(call clickhouse.Call, sequence uint64) {
	key := storedKey{call.GetTenant(), call.GetSubscription(), hourOf(call.GetCompletedAt())}
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

// stored counts the distinct calls in the stream. Full hours come from the counts that are kept as messages are read; of an hour
// that an end of the span divides, if there are calls on both sides, the messages that have them are read again.
func (a *Analytics) stored(ctx context.Context, s scope) (tally, error) {
	var sum tally
	var across []store.Across
	var partitions []store.Partition
	err := a.in(ctx, s.tenant, func(tx pgx.Tx) (err error) {
		if partitions, err = store.Partitions(ctx, tx); err != nil {
			return err
		}
		if sum.calls, sum.digest, err = store.Within(ctx, tx, s.subscription, s.Start, s.End); err != nil {
			return err
		}
		across, err = store.AcrossEnds(ctx, tx, s.subscription, s.Start, s.End)
		return err
	})
	if err != nil {
		return tally{}, err
	}
	for _, p := range partitions {
		part, err := a.recount(ctx, s, p, slices.DeleteFunc(slices.Clone(across), func(x store.Across) bool { return x.Partition != p.Partition }))
		if err != nil {
			return tally{}, err
		}
		sum.calls, sum.digest = sum.calls+part.calls, sum.digest+part.digest
	}
	return sum, nil
}

// recount counts the calls of some counts of a partition that lie within the scope.
func (a *Analytics) recount(ctx context.Context, s scope, p store.Partition, across []store.Across) (tally, error) {
	if len(across) == 0 {
		return tally{}, nil
	}
	wanted := map[storedKey]bool{}
	first, last := across[0].FirstSequence, across[0].LastSequence
	for _, x := range across {
		if x.Generation != p.Generation || p.StreamCreated == nil {
			return tally{}, recountError(fmt.Errorf("they are of an earlier stream: %w", callstream.ErrLost))
		}
		wanted[storedKey{x.Tenant, x.Subscription, x.Hour}] = true
		first, last = min(first, x.FirstSequence), max(last, x.LastSequence)
	}
	var sum tally
	seen := map[bootKey]received.Set{}
	err := callstream.Each(ctx, a.Bus, p.Partition, uint64(first), uint64(last), *p.StreamCreated, func(m callstream.Message) error {
		if m.Refused != nil || len(m.Batch.GetCalls()) == 0 {
			return nil
		}
		key, all := bootKey{m.Batch.GetGateway(), m.Batch.GetBoot()}, callstream.Range(m.Batch)
		before := seen[key]
		var fresh []received.Range
		seen[key], fresh = before.Merge(all)
		for _, r := range fresh {
			for _, record := range m.Batch.GetCalls()[r.First-all.First : r.Last-all.First+1] {
				c := clickhouse.Call{Gateway: key.gateway, Boot: key.boot, CallRecord: record}
				if s.has(&c) && wanted[storedKey{c.GetTenant(), c.GetSubscription(), hourOf(c.GetCompletedAt())}] {
					sum.calls++
					sum.digest += callset.Digest(key.gateway, key.boot, record.GetSeq())
				}
			}
		}
		return nil
	})
	return sum, recountError(err)
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
