package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/received"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// split divides buckets at instants that became known after calls on both sides of them had been metered: when a subscription
// begins, changes its plan or ends while metering hears of it later than of the calls. Which side a call belongs to is read again
// from the stream, whose messages do not change; the sums of the parts must be the sum of the whole. What cannot be
// divided stays, and usage up to such an instant is then refused rather than guessed.
func (a *application) split(ctx context.Context) error {
	due, err := store.SplitsAfter(ctx, a.tx, a.partition.SplitTo, maxSplits)
	if err != nil {
		return err
	}
	for _, s := range due {
		if err := a.splitSubscription(ctx, s); err != nil {
			return err
		}
		a.partition.SplitTo = s.Position
	}
	return nil
}

func (a *application) splitSubscription(ctx context.Context, s store.Split) error {
	rows, err := store.RowsSince(ctx, a.tx, s.Tenant, s.Subscription, a.partition.Partition, s.Since)
	if err != nil || len(rows) == 0 {
		return err
	}
	known, err := a.p.cache.Load(ctx, a.tx, []string{s.Subscription})
	if err != nil {
		return err
	}
	k := known[s.Subscription]
	if k == nil {
		return fmt.Errorf("split usage of subscription %s: it is not known", s.Subscription)
	}
	var divided []store.LedgerRow
	for _, r := range rows {
		first, last := k.Calendar.Bucket(r.First), k.Calendar.Bucket(r.Last)
		switch {
		case first != last:
			divided = append(divided, r)
		case first != r.Bucket: // it lies in one bucket, by another name
			if err := a.replace(ctx, r, []domain.Row{rename(r.Row, first)}); err != nil {
				return err
			}
		}
	}
	if len(divided) == 0 {
		return nil
	}
	err = a.divide(ctx, k, divided)
	if errors.Is(err, callstream.ErrLost) {
		a.m.logger.Error("usage cannot be divided", "subscription", s.Subscription, "partition", a.partition.Partition, "error", err)
		return nil
	}
	return err
}

func rename(r domain.Row, bucket int64) domain.Row {
	r.Bucket = bucket
	return r
}

// replace puts rows in the place of one.
func (a *application) replace(ctx context.Context, old store.LedgerRow, rows []domain.Row) error {
	if err := store.DeleteUsage(ctx, a.tx, a.partition.Partition, old.Key); err != nil {
		return err
	}
	return store.AddUsage(ctx, a.tx, a.partition.Partition, old.Generation, rows)
}

// divide reads the calls of rows again and replaces each by its parts.
func (a *application) divide(ctx context.Context, k *store.Known, rows []store.LedgerRow) error {
	first := rows[0].Sequence
	for _, r := range rows {
		if r.Generation != a.partition.Generation {
			return fmt.Errorf("usage was metered from an earlier stream: %w", callstream.ErrLost)
		}
		first = min(first, r.Sequence)
	}
	parts := make([]*domain.Tally, len(rows))
	for i := range parts {
		parts[i] = domain.NewTally(func(string) *domain.Calendar { return k.Calendar })
	}
	seen := map[bootKey]received.Set{}
	last := uint64(a.partition.Sequence)
	err := callstream.Each(ctx, a.m.bus, a.partition.Partition, first, last, *a.partition.StreamCreated, func(m callstream.Message) error {
		if m.Refused != nil || len(m.Batch.GetCalls()) == 0 {
			return nil
		}
		key := bootKey{m.Batch.GetGateway(), m.Batch.GetBoot()}
		before := seen[key]
		var fresh []received.Range
		seen[key], fresh = before.Merge(callstream.Range(m.Batch))
		for _, r := range fresh {
			for _, c := range m.Batch.GetCalls()[r.First-m.Batch.GetFirstSeq() : r.Last-m.Batch.GetFirstSeq()+1] {
				if c.GetSubscription() != k.ID {
					continue
				}
				for i := range rows {
					if c.GetCompletedAt() < rows[i].First || c.GetCompletedAt() > rows[i].Last {
						continue
					}
					if err := parts[i].Add(key.gateway, key.boot, c, m.Sequence); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, r := range rows {
		if err := a.replaceChecked(ctx, r, parts[i].Rows()); err != nil {
			return err
		}
	}
	return nil
}

// replaceChecked replaces a row by those parts that have its key, if they add up to it.
func (a *application) replaceChecked(ctx context.Context, whole store.LedgerRow, parts []domain.Row) error {
	var own []domain.Row
	var sum domain.Sum
	for _, part := range parts {
		if rename(part, whole.Bucket).Key != whole.Key {
			continue
		}
		own = append(own, part)
		sum.Quantity = sum.Quantity.Add(part.Quantity)
		sum.Calls += part.Calls
		sum.Digest += part.Digest
	}
	if sum.Calls != whole.Calls || sum.Digest != whole.Digest || !sum.Quantity.Equal(whole.Quantity) {
		return fmt.Errorf("the stream has %d calls of a row of %d: %w", sum.Calls, whole.Calls, callstream.ErrLost)
	}
	return a.replace(ctx, whole, own)
}
