package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

const (
	// MaxTailWait is the longest that a tail waits for calls.
	MaxTailWait = 20 * time.Second
	tailPoll    = 250 * time.Millisecond
	// tailMemory is how old the cursor of a tail may be: manifests tell what was landed since, and are kept longer.
	tailMemory = 24 * time.Hour
)

// Tail is what was landed after a cursor.
type Tail struct {
	// Calls, the oldest first.
	Calls []Call `json:"items"`
	// Skipped is how many older ones there were besides, which did not fit.
	Skipped uint64 `json:"skipped"`
	// Next is the cursor to go on with; it is always there.
	Next string `json:"next"`
}

// tailCursor is up to where each partition of the stream had been landed.
type tailCursor struct {
	at    time.Time
	upTo  []uint64
	epoch []int32
}

func (c tailCursor) String() string {
	parts := []string{strconv.FormatInt(c.at.Unix(), 10)}
	for i := range c.upTo {
		parts = append(parts, strconv.Itoa(int(c.epoch[i]))+"-"+strconv.FormatUint(c.upTo[i], 10))
	}
	return strings.Join(parts, ".")
}

func parseTailCursor(text string) (c tailCursor, err error) {
	parts := strings.Split(text, ".")
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return c, err
	}
	c.at = time.Unix(seconds, 0)
	for _, part := range parts[1:] {
		epoch, sequence, _ := strings.Cut(part, "-")
		e, err := strconv.ParseInt(epoch, 10, 32)
		if err != nil {
			return c, err
		}
		s, err := strconv.ParseUint(sequence, 10, 63)
		if err != nil {
			return c, err
		}
		c.epoch, c.upTo = append(c.epoch, int32(e)), append(c.upTo, s)
	}
	return c, nil
}

// TailCalls waits until calls of the acting tenant were landed after the cursor, or from now on when it is empty, and returns them
// in the order of their completion; without calls it returns none after the wait. Every call is returned by one tail, whenever it
// completed and whichever way it took; when there are more than the limit, the newest are returned and the others counted.
// From and To of the query do not matter.
func (a *Analytics) TailCalls(ctx context.Context, q Query, wait time.Duration) (Tail, error) {
	who, err := actor(ctx)
	if err != nil {
		return Tail{}, err
	}
	after := q.Cursor
	q.Cursor = ""
	f, err := a.filter(ctx, who.Tenant, q)
	if err != nil {
		return Tail{}, err
	}
	now, err := a.places.now(ctx, 0)
	if err != nil {
		return Tail{}, err
	}
	from := now
	if after != "" {
		if from, err = a.tailFrom(after, now); err != nil {
			return Tail{}, err
		}
	}
	if !a.tails.enter(who.Tenant) {
		return Tail{}, problem.NewUnavailable("too-many-tails", "Too many tails wait for calls already: at most %d of a tenant, and %d in all. Try again later.", maxTenantTails, maxTails)
	}
	defer a.tails.leave(who.Tenant)
	deadline := time.NewTimer(min(wait, MaxTailWait))
	defer deadline.Stop()
	for last := false; ; {
		tail, err := a.landedSince(ctx, who.Tenant, f, from, now)
		if err != nil || len(tail.Calls) > 0 || last {
			return tail, err
		}
		from = now
		select {
		case <-ctx.Done():
			return Tail{}, ctx.Err()
		case <-deadline.C:
			last = true
		case <-time.After(tailPoll):
		}
		if now, err = a.places.now(ctx, tailPoll); err != nil {
			return Tail{}, err
		}
	}
}

func (a *Analytics) tailNow(ctx context.Context) (tailCursor, error) {
	c := tailCursor{at: a.now()}
	err := a.all(ctx, func(tx pgx.Tx) error {
		rows, err := store.Partitions(ctx, tx)
		c.epoch, c.upTo = nil, nil
		for _, p := range rows {
			c.epoch, c.upTo = append(c.epoch, p.Generation), append(c.upTo, uint64(p.Landed))
		}
		return err
	})
	return c, err
}

func (a *Analytics) tailFrom(text string, now tailCursor) (tailCursor, error) {
	from, err := parseTailCursor(text)
	if err != nil || len(from.upTo) != len(now.upTo) {
		return from, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "cursor", Message: "is not the next of a tail before"})
	}
	if a.now().Sub(from.at) > tailMemory {
		return from, problem.NewInvalid("cursor-expired", "The cursor is older than %s. Begin without one, or list the calls of that time.", tailMemory)
	}
	for i := range from.upTo {
		if from.epoch[i] != now.epoch[i] { // the stream was made anew
			from.epoch[i], from.upTo[i] = now.epoch[i], 0
		}
	}
	return from, nil
}

// landedSince returns the calls that were landed between two cursors.
func (a *Analytics) landedSince(ctx context.Context, tenant string, f clickhouse.Filter, from, to tailCursor) (Tail, error) {
	tail := Tail{Calls: []Call{}, Next: to.String()}
	if slices.Equal(from.upTo, to.upTo) {
		return tail, nil // as mostly
	}
	f.Landed = []clickhouse.Place{}
	var span clickhouse.Span
	err := a.all(ctx, func(tx pgx.Tx) error {
		f.Landed = f.Landed[:0]
		for i := range to.upTo {
			if to.upTo[i] <= from.upTo[i] {
				continue
			}
			first, last, any, err := store.Completed(ctx, tx, i, to.epoch[i], int64(from.upTo[i]), int64(to.upTo[i]))
			if err != nil {
				return err
			}
			if !any {
				continue
			}
			if len(f.Landed) == 0 {
				span = clickhouse.Span{Start: first, End: last + 1}
			}
			span = clickhouse.Span{Start: min(span.Start, first), End: max(span.End, last+1)}
			f.Landed = append(f.Landed, clickhouse.Place{Partition: i, After: from.upTo[i], UpTo: to.upTo[i]})
		}
		return nil
	})
	if err != nil || len(f.Landed) == 0 {
		return tail, err
	}
	f.Span = span
	limit := f.Limit
	f.Limit++
	rows, err := a.Table.Calls(ctx, tenant, f)
	if err != nil {
		return tail, err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		n, err := a.Table.CountCalls(ctx, tenant, f)
		if err != nil {
			return tail, err
		}
		tail.Skipped = n - uint64(limit)
	}
	shown, err := a.show(ctx, tenant, rows)
	if err != nil {
		return tail, fmt.Errorf("tail calls: %w", err)
	}
	for i := len(shown) - 1; i >= 0; i-- {
		tail.Calls = append(tail.Calls, shown[i])
	}
	return tail, nil
}
